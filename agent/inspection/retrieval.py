"""Where candidates came from, and what was dropped: the tables of a retrieval."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mllm_srec.agent.inspection.records import NodeRecord, SearchRecord
from mllm_srec.agent.inspection.tables import Section, decimal, entries
from mllm_srec.tools.sources import CHROMA

SIMILARITIES = ("taste", "recent", CHROMA)
"""Sources that ask the index of vectors: their score is a cosine similarity, so that one less it is
the distance."""

NAMED = 5
"""Values of a filter that are named; of more their count is told."""


def retrieval_sections(
    candidates: Sequence[Mapping[str, Any]], node: NodeRecord, before: Mapping[str, Any]
) -> Iterator[Section]:
    """Yield what was found, by which source, and what was dropped.

    Args:
        candidates: As the node returned them.
        node: The pass.
        before: The state that it read.
    """
    yield _candidates(candidates, before)
    if node.searches:
        yield searches_section(node)
    if isinstance(node.dropped, Mapping):
        yield _dropped(node.dropped)


def searches_section(node: NodeRecord) -> Section:
    """What each source brought."""
    return Section(
        title="Sources",
        columns=("source", "seconds", "found", "best"),
        rows=tuple(_search(each) for each in node.searches),
    )


def _candidates(candidates: Sequence[Mapping[str, Any]], before: Mapping[str, Any]) -> Section:
    return Section(
        title="Candidates",
        columns=("rank", "item", "score", "found by"),
        rows=tuple(
            (
                str(entry.get("retrieval_rank")),
                str(entry.get("item_id")),
                decimal(entry.get("retrieval_score")),
                _sources(entry),
            )
            for entry in candidates
        ),
        note="; ".join(_filters(before)),
    )


def _filters(before: Mapping[str, Any]) -> Iterator[str]:
    """Yield what kept items out of the list."""
    seen = {event.get("item_id") for event in entries(before.get("history"))}
    yield f"{len(seen)} seen items left out" if seen else "no item was seen before"
    if before.get("conditions"):
        yield f"asked for {before['conditions']}"
    if isinstance(found := before.get("filter"), Mapping):
        yield f"filter: {', '.join(f'{name} {_listed(value)}' for name, value in found.items())}"
    if isinstance(before.get("only"), list):
        yield f"only {_listed(before['only'])}"


def _listed(value: object) -> str:
    """A value of a filter; of a long list how many there are."""
    if not isinstance(value, list):
        return str(value)
    return " + ".join(map(str, value)) if len(value) <= NAMED else f"{len(value)} items"


def _search(search: SearchRecord) -> tuple[str, ...]:
    best = ", ".join(f"{item_id} {score:.3f}" for item_id, score in search.best.items())
    return search.source, f"{search.seconds:.4f}", str(search.found), best or "-"


def _dropped(dropped: Mapping[str, Any]) -> Section:
    """The best that were dropped for each reason, and how many there were."""
    named, counts = entries(dropped.get("named")), dropped.get("counts")
    counted = counts if isinstance(counts, Mapping) else {}
    return Section(
        title="Dropped",
        columns=("item", "why", "place", "met by"),
        rows=tuple(
            (
                str(entry.get("item_id")),
                ", ".join(str(entry[name]) for name in ("reason", "wish") if name in entry),
                str(entry.get("place", "-")),
                _sources(entry),
            )
            for entry in named
        ),
        note="; ".join(f"{count} {reason}" for reason, count in counted.items())
        + ("; the best of each are named" if sum(counted.values()) > len(named) else ""),
    )


def _sources(entry: Mapping[str, Any]) -> str:
    def source(name: str, score: float) -> str:
        shown = f"{name} {score:.3f}"
        return f"{shown} (distance {1 - score:.3f})" if name in SIMILARITIES else shown

    return ", ".join(source(n, v) for n, v in entry.get("sources", {}).items()) or "-"
