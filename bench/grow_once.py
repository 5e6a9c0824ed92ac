"""One size of `bench.growth`, in a process of its own: figures as JSON on stdout."""

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.stub import DIMENSION, StubEngine, write_catalogue
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import ingest
from mllm_srec.agent.recommender import Recommender
from mllm_srec.store import chroma

CHROMA = "vectors"
"""Folder of a home that Chroma writes to."""
QUERIES = 21
"""Users asked; the first one warms up."""


class Clock:
    """Adds up the seconds that a function takes."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function and add its time."""
        started = time.perf_counter()
        try:
            return self._function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - started


def main() -> int:
    """Measure what the arguments say: `product` or `chroma`, a folder, a model, a size."""
    what, place, model, items = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    # Both are loaded before the clock, and before what memory is measured from.
    _warm_up(place, model)
    found = _product(place, model, items) if what == "product" else _chroma(place, items)
    sys.stdout.write(json.dumps(found))
    return 0


def _warm_up(place: Path, model: Path) -> None:
    """Ingest a handful, so that what loads once is loaded."""
    files = write_catalogue(place / f"few{time.time_ns()}", 20)
    home = files[0].parent / "home"
    ingest(home, items=files[0], interactions=files[1], engine=StubEngine(), model=model)
    with Deployment.open(home, engine=StubEngine(), model=model) as deployment:
        Recommender(deployment).recommend("u0000000")


def _product(place: Path, model: Path, items: int) -> dict[str, float]:
    paths = write_catalogue(place, items)
    before = _restart_peak()
    clock = Clock(chroma.fill)
    chroma.fill = clock
    started = time.perf_counter()
    report = ingest(
        place / "home", items=paths[0], interactions=paths[1], engine=StubEngine(), model=model
    )
    seconds, peak = time.perf_counter() - started, _peak_mib()
    if report.fused != items or report.fallbacks:
        raise RuntimeError(f"{report.fused} of {items} items fused, {report.fallbacks} fallbacks")
    return {
        "seconds": seconds,
        "chroma_seconds": clock.seconds,
        "mib": peak - before,
        "disk_mib": _size_mib(place / "home"),
        "chroma_disk_mib": _size_mib(place / "home" / CHROMA),
        **_queries(place / "home", model),
    }


def _size_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def _queries(home: Path, model: Path) -> dict[str, float]:
    """Median of whole recommendations, each of a user who was not asked before, and the memory."""
    taken = []
    with Deployment.open(home, engine=StubEngine(), model=model) as deployment:
        srec = Recommender(deployment)
        for number in range(QUERIES):
            started = time.perf_counter()
            srec.recommend(f"u{number:07d}")
            taken.append(time.perf_counter() - started)
        return {"query_seconds": median(taken[1:]), "resident_mib": _status_mib("VmRSS")}


def _chroma(place: Path, items: int) -> dict[str, float]:
    """The vectors alone, in the batches of the ingest."""
    engine, before = StubEngine(), _restart_peak()
    folder = place / "chroma-alone"
    client, collection = chroma.connect(folder, "items", fresh=True)
    started = time.perf_counter()
    for start in range(0, items, 64):
        ids = [f"g{number:07d}" for number in range(start, min(start + 64, items))]
        vectors = engine.embed(ids)
        if vectors.shape != (len(ids), DIMENSION) or not np.isfinite(vectors).all():
            raise RuntimeError(f"vectors {vectors.shape} for {len(ids)} items")
        chroma.fill(collection, ids, vectors)
    seconds = time.perf_counter() - started
    client.close()
    return {"seconds": seconds, "mib": _peak_mib() - before}


def _restart_peak() -> float:
    """Forget the highest resident memory so far; returns what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _peak_mib()


def _peak_mib() -> float:
    """Highest resident memory of this program since the last restart.

    Not `getrusage`: what it tells lives on from the process that started this one.
    """
    return _status_mib("VmHWM")


def _status_mib(name: str) -> float:
    """A size of this process; Linux tells it in KiB."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.exit(main())
