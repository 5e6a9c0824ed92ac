"""What a home keeps, counted and multiplied."""

from pathlib import Path

import pytest

from bench.scale import Kept, kept, lines
from mllm_srec.agent.ingest import fuse_missing
from tests.agent.shop import COLOURS, ITEMS, LOG, deploy, scripted


def test_everything_that_a_home_keeps_is_counted(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
    found = {one.what: one for one in kept(tmp_path / "home")}
    assert (
        found["items"].count == found["descriptions"].count == found["vectors"].count == len(ITEMS)
    )
    assert found["interactions"].count == sum(map(len, LOG.values()))
    # Items of one colour have one picture.
    assert found["pictures"].count == len(COLOURS)
    assert all(one.size > 0 for one in found.values())
    with pytest.raises(FileNotFoundError, match="not there"):
        kept(tmp_path)


def test_what_is_planned_for_is_in_proportion() -> None:
    rows = lines(
        [Kept("items", 1_000, 1_000 << 10), Kept("interactions", 10, 400)], 1 << 20, 1 << 30
    )
    assert rows[2] == "| items | 1,000 | 1,024 | 1,048,576: 1.0 GiB |"
    assert rows[3] == "| interactions | 10 | 40 | 1,073,741,824: 40.0 GiB |"
