"""The main job as a person runs it: the command, the shipped shop and model, a real vLLM."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mllm_srec.agent.demo import sample_shop

ITEMS = 80
pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None and "CI" not in os.environ,
    reason="vLLM is not installed: this is the test of the product on it",
)


def srec(*arguments: str | Path) -> Any:
    """Run a command with --json and read what it prints."""
    line = [sys.executable, "-c", "from mllm_srec.agent.cli import main; main()", *arguments]
    done = subprocess.run([*map(str, line), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(text) for text in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job") / "home"


@pytest.fixture(scope="module")
def report(home: Path) -> dict[str, Any]:
    shop = sample_shop()
    [report] = srec(
        "ingest", "--items", shop / "items.parquet", "--interactions",
        shop / "interactions.parquet", "--images", shop, "--home", home,
        "--limit-items", str(ITEMS), "--engine", "vllm",
    )  # fmt: skip
    return dict(report)


def test_ingest_fuses_every_item(report: dict[str, Any]) -> None:
    assert report["items"] == report["fused"] == ITEMS
    assert report["engine"] == "vllm"
    assert report["rejected"] == report["pictures_rejected"] == 0


def test_hardly_an_item_needs_the_plain_form(report: dict[str, Any]) -> None:
    assert report["fallbacks"] <= 0.05 * ITEMS


def test_a_recommendation_by_vllm_is_complete_traced_and_repeatable(
    home: Path, report: dict[str, Any]
) -> None:
    first, second = (srec("recommend", "u1", "-k", "3", "--home", home)[0] for _ in range(2))
    assert len(first["items"]) == 3
    assert first["engine"] == "vllm"
    assert all(item["reason"] for item in first["items"])
    history = {entry["item_id"] for entry in first["history"]}
    assert not history & {item["item_id"] for item in first["items"]}
    assert all(set(item["evidence"]) <= history for item in first["items"])
    assert first["preference"]
    assert second["items"] == first["items"]
    [trace] = srec("trace", "show", first["trace_id"], "--home", home)
    assert {"load_user", "score_targets", "explain"} <= {node["name"] for node in trace["nodes"]}
    asked = {"summarize_preferences", "profile_user", "explain"}
    texts = [
        call["answer"] for node in trace["nodes"] if node["name"] in asked for call in node["calls"]
    ]
    assert texts
    assert all(texts)


def test_the_transformers_engine_recommends_from_the_same_home(
    home: Path, report: dict[str, Any]
) -> None:
    [result] = srec("recommend", "u1", "-k", "2", "--home", home, "--engine", "transformers")
    assert result["engine"] == "transformers"
    assert len(result["items"]) == 2
