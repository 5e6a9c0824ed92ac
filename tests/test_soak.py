"""What hours of use and a large catalogue would show, in minutes."""

import gc
from collections.abc import Iterator
from pathlib import Path

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
LARGE = 5_000


@pytest.fixture
def recommender(
    vllm_installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recommender]:
    # Its pages come into memory as they are first used: a GiB fills for as long as the test runs.
    monkeypatch.setattr(vllm_engine, "KV_CACHE_BYTES", 128 * MEBIBYTE)
    shop = sample_shop()
    ingest(
        tmp_path / "home",
        items=shop / "items.parquet",
        interactions=shop / "interactions.parquet",
        images=shop,
        limit_items=300,
        engine="vllm",
    )
    with Recommender.open(tmp_path / "home", engine="vllm") as opened:
        yield opened


def test_memory_threads_and_files_do_not_grow_with_the_users_served(
    recommender: Recommender,
) -> None:
    process = psutil.Process()

    def held() -> tuple[int, int, int]:
        gc.collect()
        return process.memory_info().rss, process.num_threads(), process.num_fds()

    users = [f"u{number}" for number in range(USERS)]
    half = len(users) // 2
    for user in users[:half]:
        recommender.recommend(user, k=3)
    memory, threads, files = held()
    for user in users[half:]:
        recommender.recommend(user, k=3)
    memory_after, threads_after, files_after = held()
    assert memory_after - memory < 64 * MEBIBYTE
    assert threads_after <= threads
    assert files_after <= files + 2


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
