"""`langgraph.json` names graphs that LangGraph's development server can import, and run."""

import asyncio
import importlib
import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from mllm_srec.agent import studio
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.llm.load import Loaded
from mllm_srec.store.errors import HomeError
from mllm_srec.store.traces import TraceStore

from .conversation.talk import engine
from .shop import deploy

ROOT = Path(__file__).parents[2]
GRAPHS: dict[str, str] = json.loads((ROOT / "langgraph.json").read_text("utf-8"))["graphs"]
FIRST_NODES = {"recommend": "load_user", "conversation": "understand"}


@dataclass
class Asked:
    """What a factory reads of the server's `ServerRuntime`."""

    execution_runtime: object | None = None


DRAWING, RUNNING = Asked(), Asked(object())


def loaded(name: str) -> tuple[ModuleType, str]:
    """The module that the server imports, and the name of the factory in it."""
    path, _, factory = GRAPHS[name].partition(":")
    return importlib.import_module(path), factory


def served(name: str, asked: Asked) -> AbstractAsyncContextManager[Any]:
    module, factory = loaded(name)
    made: AbstractAsyncContextManager[Any] = getattr(module, factory)(asked)
    return made


@pytest.fixture(autouse=True)
def a_process_that_opened_no_home() -> Iterator[None]:
    yield
    if studio._open_once.cache_info().currsize:
        studio._open_once().close()
    studio._open_once.cache_clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that the environment names, on a scripted engine."""
    with deploy(tmp_path / "home", engine()) as deployment:
        fuse_missing(deployment)
    monkeypatch.setattr(
        "mllm_srec.agent.deployment.load_engine", lambda *_, **__: Loaded(engine(), None)
    )
    monkeypatch.setenv("SREC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_drawn_without_a_home(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SREC_HOME", str(tmp_path / "nowhere"))

    async def drawn() -> set[str]:
        async with served(name, DRAWING) as graph:
            return set(graph.get_graph().nodes)

    assert FIRST_NODES[name] in asyncio.run(drawn())


def test_both_graphs_are_served() -> None:
    assert set(GRAPHS) == set(FIRST_NODES)


def test_the_recommendation_graph_runs_on_the_home_of_the_environment(home: Path) -> None:
    async def ran() -> tuple[list[str], dict[str, Any]]:
        async with served("recommend", RUNNING) as graph:
            nodes = [
                name
                async for chunk in graph.astream(
                    {"user_id": "ben", "k": 2}, context={}, stream_mode="updates"
                )
                for name in chunk
            ]
            return nodes, await graph.ainvoke({"user_id": "ben", "k": 2})

    nodes, final = asyncio.run(ran())
    assert nodes[0] == "load_user"
    assert nodes[-1] == "explain"
    assert len(final["reasons"]) == 2
    with TraceStore.open(home / "traces" / "traces.sqlite") as store:
        run = load_trace(store, store.recent(1)[0].trace_id).run
    assert (run.name, run.user) == ("studio", "ben")


def test_the_conversation_graph_runs_and_the_server_remembers(home: Path) -> None:
    async def said(texts: list[str]) -> list[dict[str, Any]]:
        saver, turns = InMemorySaver(), []
        for text in texts:
            async with served("conversation", RUNNING) as graph:
                graph.checkpointer = saver
                config = {"configurable": {"thread_id": "t1"}}
                turns.append(await graph.ainvoke({"user_id": "mia", "said": text}, config))
        return turns

    first, second = asyncio.run(said(["two things please", "why the first"]))
    assert len(first["shown"]) == 2
    assert first["shown"][0]["title"] in second["answer"]


def test_a_home_that_there_is_not_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SREC_HOME", str(tmp_path / "nowhere"))

    async def entered() -> None:
        async with served("recommend", RUNNING):
            pass

    with pytest.raises(HomeError, match="nowhere"):
        asyncio.run(entered())
