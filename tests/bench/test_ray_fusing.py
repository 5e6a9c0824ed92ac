"""What Ray's workers do and return, without Ray: the description that the product would make."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest

from bench.ray_fusing import Described, different, keep, read
from bench.ray_once import Describer, _rows, line
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.store.home import Home
from tests.agent.shop import ITEMS, MODEL, deploy, scripted


def described(home: Path, *batches: list[str]) -> list[Described]:
    """What one worker returns for some batches."""
    worker = Describer(home, MODEL, scripted)
    rows = []
    for item_ids in batches:
        columns = worker({"item_id": np.array(item_ids)})
        rows += [
            {name: values[row] for name, values in columns.items()} for row in range(len(item_ids))
        ]
    worker._deployment.close()
    return [read(json.loads(line(row))) for row in rows]


def homes(tmp_path: Path, *names: str) -> list[Path]:
    """Homes that hold the same shop, nothing described."""
    for name in names:
        deploy(tmp_path / name, scripted()).close()
    return [tmp_path / name for name in names]


def test_what_workers_return_is_what_the_product_makes(tmp_path: Path) -> None:
    plain, source, target = homes(tmp_path, "plain", "source", "target")
    with deploy(plain, scripted()) as deployment:
        fuse_missing(deployment)
    ids = list(ITEMS)
    found = described(source, ids[:3], ids[3:])
    assert [one.entry.item_id for one in found] == ids
    keep(target, found[::-1], scripted(), MODEL)
    with Home.open(plain) as left, Home.open(target) as right, Home.open(source) as untouched:
        assert different(left, right) == []
        # A worker writes to a copy of its own.
        assert not untouched.catalogue.representations()


def test_another_word_and_another_vector_are_differences(tmp_path: Path) -> None:
    source, target, other = homes(tmp_path, "source", "target", "other")
    found = described(source, list(ITEMS))
    keep(target, found, scripted(), MODEL)
    word = found[0].entry.model_copy(
        update={"fused": found[0].entry.fused.model_copy(update={"what": "zebra"})}
    )
    turned = [*found[1].vector[1:], found[1].vector[0]]
    changed = [replace(found[0], entry=word), replace(found[1], vector=turned), *found[2:]]
    keep(other, changed, scripted(), MODEL)
    with Home.open(target) as left, Home.open(other) as right:
        assert different(left, right) == ["i1", "i2"]


def test_ray_is_shut_down_also_where_describing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [home] = homes(tmp_path, "home")
    happened: list[str] = []

    def fail() -> NoReturn:
        raise RuntimeError("no workers")

    ray = SimpleNamespace(
        init=lambda *_, **__: happened.append("begun"),
        shutdown=lambda: happened.append("ended"),
        data=SimpleNamespace(DataContext=SimpleNamespace(get_current=fail)),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(os, "environ", {**os.environ})
    with pytest.raises(RuntimeError, match="no workers"):
        list(_rows(home, tmp_path / "server.json", MODEL, tmp_path))
    assert happened == ["begun", "ended"]
