"""How ingest and queries grow with the catalogue, the engine stubbed out.

Each size runs in a process of its own, so that its memory is its own; Chroma's share of the time is
what the writes of vectors took, of the memory what the same vectors take in a process that keeps
nothing else.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.figures import Figure

SIZES = (1_000, 10_000, 100_000)
INGEST_LIMIT, QUERY_LIMIT = 1.3, 2.0
"""Growth of time and memory an item, and of the time of a query, from one size to the next."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What one size of catalogue took."""

    items: int
    seconds: float
    """Of the whole ingest."""
    chroma_seconds: float
    """Of which Chroma's writes."""
    mib: float
    """Memory that the ingest took beyond what the libraries take, at its peak."""
    chroma_mib: float
    """What the same vectors take in Chroma alone."""
    query_seconds: float
    """Median of a recommendation for a user with ten interactions."""
    resident_mib: float
    """Memory of the process that answers queries."""
    disk_mib: float
    """Size of the home."""
    chroma_disk_mib: float
    """Of which Chroma's files."""

    @property
    def microseconds_an_item(self) -> float:
        """Ingest outside Chroma."""
        return 1e6 * (self.seconds - self.chroma_seconds) / self.items

    @property
    def kib_an_item(self) -> float:
        """Memory outside Chroma."""
        return 1024 * max(self.mib - self.chroma_mib, 0.0) / self.items


def measure(folder: Path, model: Path, sizes: Sequence[int] = SIZES) -> list[Figure]:
    """Ingest and query at each size, and hold the growth from one to the next."""
    return figures([_one(folder, model, size) for size in sizes])


def figures(grown: Sequence[Growth]) -> list[Figure]:
    """The largest growth from one size to the next, with what it is made of."""
    return [_ingest_time(grown), _ingest_memory(grown), _queries(grown)]


def _ingest_time(grown: Sequence[Growth]) -> Figure:
    times = _at_each(grown, lambda one: f"{one.microseconds_an_item:.0f}")
    chroma = _at_each(
        grown,
        lambda one: (
            f"{one.chroma_seconds / one.seconds:.0%} of {one.seconds:.1f} s and "
            f"{one.chroma_mib:.0f} of {one.mib:.0f} MiB"
        ),
    )
    last = grown[-1]
    return _figure(
        "ingest_time_growth",
        [one.microseconds_an_item for one in grown],
        INGEST_LIMIT,
        f"microseconds an item outside Chroma: {times}; Chroma {chroma}",
        {
            "microseconds": last.microseconds_an_item,
            "chroma_microseconds": 1e6 * last.chroma_seconds / last.items,
            "chroma_kib": 1024 * last.chroma_mib / last.items,
        },
    )


def _ingest_memory(grown: Sequence[Growth]) -> Figure:
    memory = _at_each(grown, lambda one: f"{one.kib_an_item:.1f}")
    return _figure(
        "ingest_memory_growth",
        [one.kib_an_item for one in grown],
        INGEST_LIMIT,
        f"KiB an item outside Chroma: {memory}",
        {},
    )


def _queries(grown: Sequence[Growth]) -> Figure:
    queries = _at_each(grown, lambda one: f"{1e3 * one.query_seconds:.0f}")
    held = _at_each(
        grown,
        lambda one: (
            f"{one.resident_mib:.0f} MiB in memory, {one.disk_mib:.0f} on disk "
            f"({one.chroma_disk_mib:.0f} Chroma's)"
        ),
    )
    # How the memory of the process that answers grows, from the size before the last.
    before, last = grown[-2:]
    more = 1024 * (last.resident_mib - before.resident_mib) / (last.items - before.items)
    return _figure(
        "query_growth",
        [one.query_seconds for one in grown],
        QUERY_LIMIT,
        f"milliseconds a query without the engine: {queries}; {held}",
        {
            "items": last.items,
            "query_milliseconds": 1e3 * last.query_seconds,
            "resident_mib": last.resident_mib,
            "resident_kib_an_item": more,
        },
    )


def _at_each(grown: Sequence[Growth], told: Callable[[Growth], str]) -> str:
    return ", ".join(f"{told(one)} at {one.items:,}" for one in grown)


def _figure(
    name: str, values: Sequence[float], limit: float, detail: str, parts: Mapping[str, float]
) -> Figure:
    worst = max(later / max(earlier, 1e-9) for earlier, later in pairwise(values))
    return Figure(name, worst, limit, at_least=False, detail=detail, parts=parts)


def _one(folder: Path, model: Path, items: int) -> Growth:
    """Measure one size in two processes: the product, and Chroma with the same vectors."""
    place = folder / f"growth-{items}"
    product = _child("product", place, model, items)
    alone = _child("chroma", place, model, items)
    return Growth(
        items=items,
        seconds=product["seconds"],
        chroma_seconds=product["chroma_seconds"],
        mib=product["mib"],
        chroma_mib=alone["mib"],
        query_seconds=product["query_seconds"],
        resident_mib=product["resident_mib"],
        disk_mib=product["disk_mib"],
        chroma_disk_mib=product["chroma_disk_mib"],
    )


def _child(what: str, place: Path, model: Path, items: int) -> Mapping[str, float]:
    command = [sys.executable, "-m", "bench.grow_once", what, place, model, items]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found
