"""What other libraries fitted is kept for the split, and of vectors for the descriptions, too."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bench.quality.fits import Fits
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.finetune.data.splits import split_home
from mllm_srec.finetune.evaluation.ranking import RankingOptions
from mllm_srec.store.home import Home
from tests.agent.shop import deploy, scripted


def test_lists_of_other_vectors_are_not_taken_for_those_of_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []

    def fit(command: list[str], **_: Any) -> None:
        name, place, minutes = command[2], command[4], command[6]
        fitted.append(name)
        lists = pl.DataFrame({"case": [""], "items": [["i1"]], "scores": [[1.0]]})
        lists.write_parquet(Path(place) / f"{name}.parquet")
        (Path(place) / f"{name}.json").write_text(json.dumps({"minutes": float(minutes)}))

    monkeypatch.setattr(subprocess, "run", fit)
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
    fits = Fits(
        home=tmp_path / "home",
        out=tmp_path / "fits",
        python=Path("python"),
        minutes=1.0,
        min_rating=4.0,
        options=RankingOptions(),
        say=lambda line: None,
        models=("bm25", "content"),
    )
    with Home.open(tmp_path / "home") as home:
        split = split_home(home, min_rating=4.0)
    for _ in range(2):
        assert set(fits(split)) == {"bm25", "content"}
    assert fitted == ["bm25", "content"]
    with Home.open(tmp_path / "home") as home, home.lock():
        index = home.representations
        assert index.facts is not None
        index.use(index.facts)
        index.put(["i1"], np.roll(index.vectors(["i1"])["i1"], 1)[None])
    fits(split)
    assert fitted == ["bm25", "content", "content"]
