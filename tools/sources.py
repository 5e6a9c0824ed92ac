"""What the sources of retrieval bring, what they pass over and why, and how long each takes."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

Reason = Literal["seen before", "not allowed", "not described", "below the list"]

NAMED = 10
"""Dropped items of each reason that are named; all are counted."""
CHROMA = "Chroma"
"""Source of a search that asks the index of vectors alone."""


@dataclass(frozen=True, slots=True)
class Search:
    """What one source did."""

    source: str
    start_ns: int
    """Nanoseconds since 1970-01-01 UTC, as in a span."""
    end_ns: int
    found: Mapping[str, float]
    """Items with the source's own scores, best first."""
    passed: Mapping[str, tuple[int, float]]
    """Items that were better than the last that was found, and may not be candidates: place in the
    source's order, from 1, and score."""


_listener: ContextVar[Callable[[Search], None] | None] = ContextVar("srec_searches", default=None)


@contextmanager
def listening(tell: Callable[[Search], None]) -> Iterator[None]:
    """Tell of the searches that `tell_of` reports inside, in this task."""
    token = _listener.set(tell)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_of(search: Search) -> None:
    """Report a search to whoever listens."""
    if tell := _listener.get():
        tell(search)


@dataclass(frozen=True, slots=True)
class Dropped:
    """An item that a source met and that is no candidate."""

    item_id: str
    reason: Reason
    place: int
    """The best place that a source gave it; below the list, the place in the blended order."""
    sources: Mapping[str, float]
    """The sources that met it, with their own scores."""


class Sources:
    """The sources, asked one after the other."""

    def __init__(self) -> None:
        self.searches: list[Search] = []
        self._reasons: dict[str, Reason] = {}

    @property
    def found(self) -> dict[str, Mapping[str, float]]:
        """What each source found."""
        return {search.source: search.found for search in self.searches}

    @contextmanager
    def asked(
        self, source: str, count: int, why_not: Callable[[str], Reason | None]
    ) -> Iterator[Callable[[Iterable[tuple[str, float]]], None]]:
        """Ask a source for its `count` best; inside, it hands over items with scores, best first.

        Args:
            source: Its name.
            count: How many it may bring.
            why_not: Why an item may not be a candidate; None where it may.
        """
        found: dict[str, float] = {}
        passed: dict[str, tuple[int, float]] = {}

        def take(ranked: Iterable[tuple[str, float]]) -> None:
            for place, (item_id, score) in enumerate(ranked, 1):
                if len(found) == count:
                    break
                reason = why_not(item_id)
                if reason is None:
                    found[item_id] = score
                else:
                    passed[item_id] = place, score
                    self._reasons[item_id] = reason

        started = time.time_ns()
        yield take
        self.searches.append(Search(source, started, time.time_ns(), found, passed))

    def dropped(self, ranked: Sequence[str], count: int) -> tuple[list[Dropped], Counter[Reason]]:
        """The best dropped items of each reason, and how many there were.

        Args:
            ranked: What all sources found, best first.
            count: How many of them are candidates.
        """
        places: dict[str, tuple[Reason, int]] = {
            item_id: ("below the list", place)
            for place, item_id in enumerate(ranked[count:], count + 1)
        }
        for search in self.searches:
            for item_id, (place, _) in search.passed.items():
                reason, best = places.get(item_id, (self._reasons[item_id], place))
                places[item_id] = reason, min(best, place)
        named: list[Dropped] = []
        counts: Counter[Reason] = Counter()
        for item_id in sorted(places, key=lambda each: (places[each][1], each)):
            reason, place = places[item_id]
            counts[reason] += 1
            if counts[reason] <= NAMED:
                named.append(Dropped(item_id, reason, place, self._scores(item_id)))
        return named, counts

    def _scores(self, item_id: str) -> dict[str, float]:
        """What each source that met an item said of it."""
        scores = {}
        for search in self.searches:
            if item_id in search.found:
                scores[search.source] = search.found[item_id]
            elif item_id in search.passed:
                scores[search.source] = search.passed[item_id][1]
        return scores
