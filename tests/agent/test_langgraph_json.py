"""`langgraph.json` names graphs that LangGraph's development server can load, by file."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GRAPHS: dict[str, str] = json.loads((ROOT / "langgraph.json").read_text("utf-8"))["graphs"]
FIRST_NODES = {"recommend": "load_user", "conversation": "understand"}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_made_by_the_factory_that_the_file_names(name: str) -> None:
    path, _, factory = GRAPHS[name].partition(":")
    spec = importlib.util.spec_from_file_location(f"served_{name}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = getattr(module, factory)().compile().get_graph()
    assert FIRST_NODES[name] in drawn.nodes


def test_both_graphs_are_served() -> None:
    assert set(GRAPHS) == set(FIRST_NODES)
