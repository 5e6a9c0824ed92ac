"""A conversation whose vLLM server is killed in the middle of a turn, and started again."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mllm_srec.agent import serving
from mllm_srec.agent.conversation.conversation import Conversations
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.demo import sample_shop
from mllm_srec.agent.events import Event, NodeEnded
from mllm_srec.agent.ingest import fuse_missing, ingest
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.engine import EngineLost
from mllm_srec.store.home import Home
from mllm_srec.store.traces import TraceStore

ITEMS = 24
RETRIES_S = 60.0
"""Longest time until a lost server is given up."""


@pytest.fixture
def home(vllm_installed: None, tmp_path: Path) -> Iterator[Path]:
    """Some items of the sample shop, described by a server that runs."""
    shop, path = sample_shop(), tmp_path / "home"
    items, log = shop / "items.parquet", shop / "interactions.parquet"
    ingest(path, items=items, interactions=log, images=shop, limit_items=ITEMS, fuse_now=False)
    serving.start(path)
    with Recommender.open(path, engine="vllm-server") as srec:
        fuse_missing(srec.deployment)
    yield path
    serving.stop(path)


def kill(home: Path) -> None:
    """SIGKILL for the server and its workers."""
    server = psutil.Process(serving.status(home)["pid"])
    family = [*server.children(recursive=True), server]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=60)


def busiest(home: Path) -> str:
    with Home.open(home) as opened:
        users = opened.catalogue.interactions_frame()["user_id"]
    return str(users.mode().sort()[0])


def trace(home: Path, trace_id: str) -> TraceRecord:
    with Home.open(home) as opened, TraceStore.open(opened.traces_file) as store:
        return load_trace(store, trace_id)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_turn_goes_on_when_its_killed_server_is_started_again(home: Path) -> None:
    killed_at: list[float] = []

    def tell(event: Event) -> None:
        # Once: what a retry runs again ends again, without a server.
        if isinstance(event, NodeEnded) and event.node == "profile_user" and not killed_at:
            kill(home)
            killed_at.append(time.monotonic())

    with Recommender.open(home, engine="vllm-server") as srec, Conversations(srec) as talks:
        with talks.begin(busiest(home)) as chat:
            asked = Understood(intent="recommend")
            waiting = chat.start("what should I get", tell, turn=asked)
            with pytest.raises(EngineLost, match="srec serve"):
                waiting.result(timeout=600)
            assert time.monotonic() - killed_at[0] < RETRIES_S
            [cut_off] = chat.turns()
            assert cut_off.result is None
            thread, user = chat.thread, chat.user
        serving.start(home)
        # The same process, whose engine turns to the new server; the same turn, from its start.
        with talks.begin(user, thread) as chat:
            assert chat.resumed is not None
            assert chat.resumed.turn == cut_off.turn == 1
            assert chat.resumed.items
            [kept] = chat.turns()
            assert kept.result is not None
            trace_id = chat.resumed.trace_id
    nodes = {node.name: node.tokens for node in trace(home, trace_id).nodes}
    for name in ("summarize_preferences", "profile_user"):
        assert nodes[name].calls == 0
        assert nodes[name].stored > 0
    assert nodes["score_targets"].calls > 0
