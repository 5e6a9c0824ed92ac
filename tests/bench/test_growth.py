"""How growth is reckoned, and that the stubbed ingest is the product's own."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from bench.growth import Growth, figures
from bench.stub import PER_ITEM, StubEngine, write_catalogue
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import ingest
from mllm_srec.agent.recommender import Recommender
from tests.agent.shop import MODEL

ROOT = Path(__file__).parents[2]


def grown(items: int, seconds: float, mib: float, query: float) -> Growth:
    return Growth(
        items=items,
        seconds=seconds,
        chroma_seconds=seconds / 2,
        mib=mib,
        chroma_mib=mib / 4,
        query_seconds=query,
        resident_mib=300,
        disk_mib=50,
        chroma_disk_mib=40,
    )


def test_growth_is_the_worst_step_of_what_is_not_chroma_s() -> None:
    time, memory, query = figures(
        [grown(1_000, 2.0, 8.0, 0.1), grown(10_000, 24.0, 80.0, 0.1), grown(100_000, 200, 400, 0.3)]
    )
    # 1,000 and 1,200 microseconds an item; then less again.
    assert time.value == pytest.approx(1.2)
    assert time.passed
    assert "1000 at 1,000" in time.detail
    assert "50% of 24.0 s and 20 of 80 MiB at 10,000" in time.detail
    assert memory.value == pytest.approx(1.0)
    assert query.value == pytest.approx(3.0)
    assert not query.passed


def test_a_generated_catalogue_has_the_interactions_that_it_says(tmp_path: Path) -> None:
    items, interactions = map(pl.read_parquet, write_catalogue(tmp_path, 400))
    assert len(items) == 400
    # A user who drew an item twice has it once.
    assert 0.9 * PER_ITEM * 400 < len(interactions) <= PER_ITEM * 400
    assert not interactions.select("user_id", "item_id").is_duplicated().any()
    chosen = Counter(interactions["item_id"])
    assert set(chosen) <= set(items["item_id"])
    assert max(chosen.values()) > 3 * PER_ITEM


def test_the_stub_s_answers_are_taken_by_every_step(tmp_path: Path) -> None:
    items, interactions = write_catalogue(tmp_path, 60)
    engine, home = StubEngine(), tmp_path / "home"
    report = ingest(home, items=items, interactions=interactions, engine=engine, model=MODEL)
    assert (report.fused, report.fallbacks, report.rejected) == (60, 0, 0)
    with Deployment.open(home, engine=engine, model=MODEL) as deployment:
        result = Recommender(deployment).recommend("u0000003", 5)
    assert len(result.items) == 5
    assert len({item.score for item in result.items}) > 1


def test_one_size_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.grow_once", "product", tmp_path, MODEL, "120"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    found = json.loads(done.stdout)
    assert 0 < found["chroma_seconds"] < found["seconds"]
    assert found["query_seconds"] > 0
    assert found["mib"] >= 0
    assert 0 < found["chroma_disk_mib"] < found["disk_mib"]
