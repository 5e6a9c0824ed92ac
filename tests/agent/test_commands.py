"""The commands at work on some items of the sample shop, by the real model."""

import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mllm_srec.agent import demo
from mllm_srec.store.home import Home
from tests.agent.commands import Srec

ITEMS = 12
BY = ("--engine", "transformers")
SHIPPED = demo.sample_shop()


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a shop: the items of the sample shop that are used most, and their log."""
    folder = tmp_path_factory.mktemp("some")
    log = pl.read_parquet(SHIPPED / "interactions.parquet")
    most = log.group_by("item_id").len().sort(["len", "item_id"], descending=[True, False])
    kept = most.head(ITEMS)["item_id"].to_list()
    log.filter(pl.col("item_id").is_in(kept)).write_parquet(folder / "interactions.parquet")
    items = pl.read_parquet(SHIPPED / "items.parquet").filter(pl.col("item_id").is_in(kept))
    items.write_parquet(folder / "items.parquet")
    shutil.copytree(SHIPPED / "images", folder / "images")
    return folder


def ingest(srec: Srec, shop: Path, home: Path) -> None:
    """Take that shop in."""
    done = srec(
        "ingest", "--items", shop / "items.parquet", "--interactions",
        shop / "interactions.parquet", "--home", home, *BY, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (done.report["items"], done.report["fused"]) == (ITEMS, ITEMS)
    assert done.report["engine"] == "transformers"


def recommend(srec: Srec, home: Path) -> dict[str, Any]:
    """Recommend to the user with the longest history."""
    with Home.open(home) as opened:
        counts = opened.catalogue.interactions_frame().group_by("user_id").len()
    user = counts.sort(["len", "user_id"], descending=[True, False])["user_id"][0]
    done = srec("recommend", user, "-k", "3", "--home", home, *BY, "--json")
    assert done.code == 0, done.err
    return done.report


def same_list(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two recommendations have the same items, with scores up to the last digits."""
    first, second = one["items"], other["items"]
    ids = [item["item_id"] for item in first] == [item["item_id"] for item in second]
    scores = [item["score"] for item in second]
    return ids and [item["score"] for item in first] == pytest.approx(scores, abs=1e-6)


def index(srec: Srec, command: str, home: Path, *more: str) -> dict[str, Any]:
    done = srec("index", command, "--home", home, "--json", *more)
    assert done.code == 0, done.err
    return done.report


@pytest.fixture
def home(srec: Srec, some: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a home that was taken in once."""
    whole = tmp_path_factory.getbasetemp() / "home-of-commands"
    if not whole.exists():
        ingest(srec, some, whole)
    return Path(shutil.copytree(whole, tmp_path / "home"))


def test_two_fresh_homes_give_the_same_recommendation(
    srec: Srec, some: Path, home: Path, tmp_path: Path
) -> None:
    ingest(srec, some, tmp_path / "other")
    one, other = recommend(srec, home), recommend(srec, tmp_path / "other")
    assert len(one["items"]) == 3
    assert len(one["history"]) > 2
    for part in ("items", "history", "windows", "preference", "profile", "fallbacks", "path"):
        assert one[part] == other[part], part


def test_the_index_says_what_it_holds_and_can_be_made_again(srec: Srec, home: Path) -> None:
    status = index(srec, "status", home)
    assert (status["count"], status["expected"], status["problem"]) == (ITEMS, ITEMS, None)
    before = recommend(srec, home)
    assert index(srec, "rebuild", home, *BY) == {"vectors": ITEMS}
    again = index(srec, "status", home)
    assert (again["count"], again["problem"]) == (ITEMS, None)
    assert again["generation"] > status["generation"]
    sizes = index(srec, "compact", home)
    assert 0 < sizes["bytes_after"] <= sizes["bytes_before"]
    compact = index(srec, "status", home)
    assert (compact["count"], compact["problem"]) == (ITEMS, None)
    assert compact["size"] == sizes["bytes_after"]
    shown = srec("index", "status", "--home", home).out
    assert re.search(rf"^size +{compact['size'] / 1e6:,.1f} MB *$", shown, re.MULTILINE)
    assert same_list(recommend(srec, home), before)


def test_a_damaged_catalogue_is_named_with_the_way_out(srec: Srec, home: Path) -> None:
    catalogue = home / "catalogue.sqlite"
    content = catalogue.read_bytes()
    catalogue.write_bytes(content[:8192] + b"\xff" * 8192 + content[16384:])
    for command in (("index", "status"), ("doctor",)):
        done = srec(*command, "--home", home, "--json")
        assert done.code == 1, done.err
        assert "catalogue.sqlite' is damaged (" in done.out
        assert "put a backup of it in its place, or move it away" in done.out


def test_a_home_without_descriptions_is_told_and_fails(
    srec: Srec, some: Path, tmp_path: Path
) -> None:
    home = tmp_path / "bare"
    done = srec("ingest", "--items", some / "items.parquet", "--home", home, "--no-fuse", *BY)
    assert done.code == 0, done.err
    status = srec("index", "status", "--home", home, "--json")
    assert status.code == 1
    assert (status.report["items"], status.report["described"]) == (ITEMS, 0)
    assert "run `srec ingest` again" in status.report["problem"]
    nothing = srec("recommend", "nobody", "--home", home, *BY, "--json")
    assert nothing.code == 1
    assert nothing.report["items"] == []
    assert f"{ITEMS} of {ITEMS} items have no description yet" in " ".join(nothing.report["notes"])


def test_a_lost_index_is_named_with_the_way_out_which_works(srec: Srec, home: Path) -> None:
    [generation] = (home / "vectors").glob("g[0-9]*")
    shutil.rmtree(generation)
    lost = srec("index", "status", "--home", home, "--json")
    assert lost.code == 1
    assert "srec index rebuild" in lost.report["problem"]
    refused = srec("recommend", "u1", "--home", home, *BY, "--json")
    assert (refused.code, refused.out) == (1, "")
    assert "srec index rebuild" in refused.err
    assert index(srec, "rebuild", home, *BY) == {"vectors": ITEMS}
    assert recommend(srec, home)["items"]


def test_the_demo_shows_what_it_took_in_a_recommendation_and_what_to_type_next(
    srec: Srec, some: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The whole shop takes minutes: tests/test_main_job.py runs the demo on it, as a slow test.
    monkeypatch.setattr(demo, "sample_shop", lambda: some)
    line = ("demo", "-k", "3", "--home", tmp_path / "demo", *BY, "--no-pictures")
    shown = srec(*line)
    assert shown.code == 0, shown.err
    for part in (f"{ITEMS}  fused descriptions", "History", "Profile", "Top 3", "What it took"):
        assert part in shown.out
    [trace_id] = re.findall(r"srec trace show ([0-9a-f]{8}) --home", " ".join(shown.out.split()))
    assert srec("trace", "show", trace_id, "--home", tmp_path / "demo", "--json").code == 0
    again = srec(*line, "--json")
    assert again.code == 0, again.err
    assert again.report["ingest"]["fused"] == ITEMS
    titles = [item["title"] for item in again.report["recommendation"]["items"]]
    assert len(titles) == 3
    assert all(title in " ".join(shown.out.split()) for title in titles)
