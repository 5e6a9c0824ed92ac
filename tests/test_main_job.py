"""The main job as a person runs it: the command, the shipped shop and model, a real vLLM."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from mllm_srec.agent.demo import sample_shop
from mllm_srec.agent.events import NodeEnded
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.llm.engine import EngineLost
from mllm_srec.store.home import Home
from tests.agent.commands import start

ITEMS = 80
USERS = 20
pytestmark = pytest.mark.usefixtures("vllm_installed")


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command with --json."""
    with start([*arguments, "--json"]) as process:
        out, err = process.communicate()
    return process.returncode, out, err


def srec(*arguments: str | Path) -> Any:
    """Run a command with --json and read what it prints."""
    code, out, err = run(*arguments)
    assert code == 0, err[-2000:]
    return [json.loads(text) for text in out.splitlines()]


def users(home: Path, count: int) -> list[str]:
    """The users with most interactions."""
    with Home.open(home) as opened:
        log = opened.catalogue.interactions_frame()
    counts = log.group_by("user_id").len().sort(["len", "user_id"], descending=[True, False])
    return [str(user) for user in counts["user_id"].head(count)]


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


@pytest.fixture(scope="module")
def server(home: Path, report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What `srec serve start` said of the server of the home."""
    [facts] = srec("serve", "start", "--home", home)
    yield facts
    srec("serve", "stop", "--home", home)


def test_ingest_fuses_every_item(report: dict[str, Any]) -> None:
    assert report["items"] == report["fused"] == ITEMS
    assert report["engine"] == "vllm"
    assert report["rejected"] == report["pictures_rejected"] == 0


def test_hardly_an_item_needs_the_plain_form(report: dict[str, Any]) -> None:
    assert report["fallbacks"] <= 0.05 * ITEMS


def test_a_server_is_said_and_no_second_one_starts(home: Path, server: dict[str, Any]) -> None:
    assert server["running"]
    assert server["url"].startswith("http://127.0.0.1:")
    [status] = srec("serve", "status", "--home", home)
    assert (status["running"], status["url"]) == (True, server["url"])
    code, out, err = run("serve", "start", "--home", home)
    assert (code, out) == (1, "")
    assert "already runs" in err


def test_a_recommendation_by_vllm_is_complete_traced_and_repeatable(
    home: Path, server: dict[str, Any]
) -> None:
    first, second = (srec("recommend", "u1", "-k", "3", "--home", home)[0] for _ in range(2))
    assert len(first["items"]) == 3
    assert first["engine"] == "vllm-server"
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


def test_hardly_a_preference_profile_or_reason_is_a_plain_form(
    home: Path, server: dict[str, Any]
) -> None:
    with Recommender.open(home, engine="vllm-server") as recommender:
        requests = [Request(user) for user in users(home, USERS)]
        results = recommender.recommend_many(requests, k=5)
    texts = sum(len(result.windows) + 1 + len(result.items) for result in results)
    assert texts >= 7 * USERS
    assert sum(result.fallbacks for result in results) <= 0.05 * texts


def test_the_transformers_engine_recommends_from_the_same_home(
    home: Path, report: dict[str, Any]
) -> None:
    [result] = srec("recommend", "u1", "-k", "2", "--home", home, "--engine", "transformers")
    assert result["engine"] == "transformers"
    assert len(result["items"]) == 2


def test_a_server_that_was_stopped_is_gone(home: Path, server: dict[str, Any]) -> None:
    assert srec("serve", "stop", "--home", home) == [{"stopped": True}]
    assert srec("serve", "status", "--home", home) == [{"running": False}]
    assert srec("serve", "stop", "--home", home) == [{"stopped": False}]
    code, out, err = run("recommend", "u1", "--home", home, "--engine", "vllm-server")
    assert (code, out) == (1, "")
    assert "srec serve" in err


def _recommend_and_kill(home: Path, user: str, server: psutil.Process) -> None:
    """Recommend, and kill the server when the profile is done."""
    with Recommender.open(home, engine="vllm-server") as recommender:
        for event in recommender.stream(user, k=5):
            if isinstance(event, NodeEnded) and event.node == "profile_user":
                family = [*server.children(recursive=True), server]
                for process in family:
                    process.kill()
                psutil.wait_procs(family, timeout=60)


@pytest.mark.slow
def test_a_server_killed_in_the_middle_is_said_and_what_was_done_is_kept(
    home: Path, report: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: srec("serve", "stop", "--home", home))
    [user] = users(home, USERS + 1)[USERS:]
    [facts] = srec("serve", "start", "--home", home)
    with pytest.raises(EngineLost, match="srec serve"):
        _recommend_and_kill(home, user, psutil.Process(facts["pid"]))
    assert srec("serve", "status", "--home", home) == [{"running": False}]
    srec("serve", "start", "--home", home)
    with Recommender.open(home, engine="vllm-server") as recommender:
        result = recommender.recommend(user, k=5)
    assert len(result.items) == 5
    for node in ("summarize_preferences", "profile_user"):
        assert result.tokens[node].calls == 0
        assert result.tokens[node].stored > 0
    assert result.tokens["score_targets"].calls > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demo_takes_the_whole_shop_in_and_recommends(tmp_path: Path) -> None:
    [shown] = srec("demo", "--home", tmp_path / "demo")
    items = pl.read_parquet(sample_shop() / "items.parquet").height
    assert shown["ingest"]["fused"] == shown["ingest"]["items"] == items
    assert shown["ingest"]["fallbacks"] <= 0.05 * items
    assert shown["recommendation"]["engine"] == "vllm"
    assert len(shown["recommendation"]["items"]) == 5
    assert srec("serve", "status", "--home", tmp_path / "demo") == [{"running": False}]
