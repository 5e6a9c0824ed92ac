"""Describing items through Ray Data, two workers on one vLLM server, against doing it without Ray.

Ray lives in an environment of its own (`make .venv/ray/ready`), so its part is a program apart,
`bench.ray_once`. What it returns is put into a home as the one writer of it would, so that what is
compared is what the product would find there.
"""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import Figure
from bench.shop import Shop, served
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing, stale_items
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.load import load_engine
from mllm_srec.store.home import Home
from mllm_srec.store.records import Representation

ITEMS = 48
ROUNDING = 1e-6
"""Chroma makes what it keeps a unit vector, again on the way through a second home."""
PYTHON = Path(__file__).parents[1] / ".venv" / "ray" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Described:
    """One item as a worker returned it."""

    entry: Representation
    vector: Sequence[float]
    worker: int
    """Its process."""


def measure(folder: Path, model: Path) -> list[Figure]:
    """Describe one shop in both ways on the same server, and count what differs.

    Raises:
        RuntimeError: Ray's environment is not there, a worker did nothing, or an item was lost.
    """
    if not PYTHON.exists():
        raise RuntimeError(f"{PYTHON} is not there: make .venv/ray/ready")
    place = folder / "ray"
    place.mkdir()
    shop = Shop(place, model, ITEMS)
    plain, target, source = (shop.fresh_home() for _ in range(3))
    with (
        served(model, plain) as server_file,
        closing(load_engine("vllm-server", model, server_file=server_file).engine) as engine,
    ):
        with Deployment.open(plain, engine=engine, model=model) as deployment:
            deployment.context()  # Loads what describing needs.
            started = time.perf_counter()
            with deployment.home.lock():
                fuse_missing(deployment)
            alone = time.perf_counter() - started
        started = time.perf_counter()
        described = _with_ray(source, server_file, model)
        with_ray = time.perf_counter() - started
        keep(target, described, engine, model)
    with Home.open(plain) as left, Home.open(target) as right:
        found = different(left, right)
    workers = Counter(one.worker for one in described)
    if len(workers) != 2:
        raise RuntimeError(f"{len(workers)} of 2 workers described items: {dict(workers)}")
    detail = (
        f"of {ITEMS} descriptions and vectors; two workers described "
        f"{' and '.join(str(count) for count in workers.values())} in {with_ray:.1f} s with Ray's "
        f"start, without Ray {alone:.1f} s"
    )
    return [Figure("ray_differences", len(found), 0, at_least=False, detail=detail)]


def _with_ray(home: Path, server_file: Path, model: Path) -> list[Described]:
    command = [PYTHON, "-m", "bench.ray_once", home, server_file, model]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return [read(json.loads(line)) for line in done.stdout.splitlines()]


def read(row: Mapping[str, Any]) -> Described:
    """A row as `bench.ray_once` wrote it."""
    entry = Representation.model_validate(row["entry"])
    return Described(entry, row["vector"], row["worker"])


def keep(home: Path, described: Sequence[Described], engine: Engine, model: Path) -> None:
    """Write what the workers returned into a home in which nothing is described.

    Raises:
        RuntimeError: The product would describe an item again.
    """
    with Deployment.open(home, engine=engine, model=model) as deployment, deployment.home.lock():
        context = deployment.context()
        entries = [one.entry for one in described]
        vectors = np.array([one.vector for one in described], np.float32)
        deployment.home.representations.put([entry.item_id for entry in entries], vectors)
        deployment.home.catalogue.put_representations(entries)
        if stale := stale_items(context):
            raise RuntimeError(f"{len(stale)} items are not described: {stale[0].item_id!r}, ...")


def different(left: Home, right: Home) -> list[str]:
    """The items whose description, or whose vector, is not the same in two homes of one shop."""
    entries = left.catalogue.representations(), right.catalogue.representations()
    item_ids = sorted(entries[0].keys() | entries[1].keys())
    vectors = left.representations.vectors(item_ids), right.representations.vectors(item_ids)
    return [
        item_id
        for item_id in item_ids
        if entries[0].get(item_id) != entries[1].get(item_id)
        or not np.allclose(vectors[0][item_id], vectors[1][item_id], rtol=0, atol=ROUNDING)
    ]
