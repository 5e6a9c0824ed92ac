"""What hours of use and a large catalogue would show, in minutes."""

import gc
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from mllm_srec.agent.demo import sample_shop
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import ingest
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.recommender import Recommender
from mllm_srec.finetune.shop.make import make_shop
from mllm_srec.llm import vllm_engine
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MEBIBYTE = 2**20
USERS = 120
POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads of asyncio's pool, each with a connection; some may be begun late. A leak would be one a
user."""
LARGE = 5_000


class Held(NamedTuple):
    """What a process holds."""

    memory: int
    threads: int
    files: int


def _serve(home: Path, said: Connection) -> None:
    """Serve users by vLLM, and say what is held after the first half of them and at the end."""
    # Pages of the cache come into memory as they are first used: a GiB would fill all the time.
    pytest.MonkeyPatch().setattr(vllm_engine, "KV_CACHE_BYTES", 128 * MEBIBYTE)
    shop = sample_shop()
    ingest(
        home,
        items=shop / "items.parquet",
        interactions=shop / "interactions.parquet",
        images=shop,
        limit_items=300,
        engine="vllm",
    )
    process = psutil.Process()
    with Recommender.open(home, engine="vllm") as recommender:
        for number in range(USERS):
            recommender.recommend(f"u{number}", k=3)
            if number + 1 in (USERS // 2, USERS):
                gc.collect()
                memory = process.memory_info().rss
                said.send(Held(memory, process.num_threads(), process.num_fds()))


def test_memory_threads_and_files_do_not_grow_with_the_users_served(
    vllm_installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # oneDNN keeps a compiled kernel for each number of tokens, 1,024 of .75 MiB if nothing is said.
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    # A process of its own: what earlier tests left is not measured, and the variable is read.
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    context = multiprocessing.get_context("spawn")
    heard, said = context.Pipe(duplex=False)
    server = context.Process(target=_serve, args=(tmp_path / "home", said))
    server.start()
    said.close()
    try:
        half, whole = heard.recv(), heard.recv()
    finally:
        server.join(60)
        server.kill()
    assert whole.memory - half.memory < 64 * MEBIBYTE
    assert whole.threads <= half.threads + POOL
    assert whole.files <= half.files + POOL


def _copy_the_title(prompt: Prompt) -> str:
    """Answer each step briefly and validly."""
    text = prompt.messages[1].text
    if text.startswith("Merge"):
        return compact({"what": "unknown", "seen": {}, "told": {}, "conflicts": {}})
    if text.startswith("Say in one sentence"):
        return compact({"reason": "It suits you.", "cites": []})
    return "{}"


def test_a_shop_of_5000_items_is_taken_in_and_recommended_from(tmp_path: Path) -> None:
    shop, home = tmp_path / "shop", tmp_path / "home"
    make_shop(7, LARGE, LARGE, shop, pictures=False)
    engine = ScriptedEngine(
        answer=_copy_the_title, score=lambda prompt, labels: {"Yes": -0.7, "No": -0.7}
    )
    report = ingest(
        home,
        items=shop / "items.parquet",
        interactions=shop / "interactions.parquet",
        engine=engine,
    )
    assert (report.items, report.fused, report.rejected) == (LARGE, LARGE, 0)
    with Recommender(Deployment.open(home, engine=engine)) as recommender:
        result = recommender.recommend("u1", k=10)
    assert len({item.item_id for item in result.items}) == 10
    with Home.open(home) as opened:
        assert opened.representations.count() == LARGE
