"""Retrieval, recorded: a span for each source, and what was dropped, with the node."""

from collections.abc import Mapping, Sequence
from typing import Any

from openinference.semconv.trace import DocumentAttributes as Document
from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.tracing.attributes import DROPPED, FOUND, Attributes, Done, as_json
from mllm_srec.agent.tracing.tracer import Step
from mllm_srec.tools.retrieval import Retrieval
from mllm_srec.tools.sources import Search

DOCUMENTS = 3
"""Items of a source that its span names; all that came into the list stand with the node."""
DIGITS = 4
"""Decimals of scores that nothing is computed from."""


def record_retrieval(
    step: Step, found: Retrieval, *, wishes: Mapping[str, str], gone: Sequence[str]
) -> None:
    """Record what the sources brought, and what is no candidate.

    Args:
        step: The node that retrieved.
        found: What came of it.
        wishes: Dropped item to the wish that ruled it out.
        gone: Items of the list that were deleted meanwhile.
    """
    step.run.tracer.put_done(step, [_search(each) for each in found.searches])
    step.record({DROPPED: as_json(_dropped(found, wishes, gone))})


def _search(search: Search) -> Done:
    attributes: Attributes = {
        Names.OPENINFERENCE_SPAN_KIND: Kind.RETRIEVER.value,
        FOUND: len(search.found),
    }
    for number, (item_id, score) in enumerate(list(search.found.items())[:DOCUMENTS]):
        start = f"{Names.RETRIEVAL_DOCUMENTS}.{number}"
        attributes[f"{start}.{Document.DOCUMENT_ID}"] = item_id
        attributes[f"{start}.{Document.DOCUMENT_SCORE}"] = round(score, DIGITS)
    return Done(search.source, attributes, search.start_ns, search.end_ns)


def _dropped(found: Retrieval, wishes: Mapping[str, str], gone: Sequence[str]) -> dict[str, Any]:
    named: list[dict[str, Any]] = [
        {
            "item_id": each.item_id,
            "reason": each.reason,
            **({"wish": wishes[each.item_id]} if each.item_id in wishes else {}),
            "place": each.place,
            "sources": {name: round(score, DIGITS) for name, score in each.sources.items()},
        }
        for each in found.dropped
    ]
    named += [{"item_id": item_id, "reason": "deleted meanwhile"} for item_id in gone]
    late = {"deleted meanwhile": len(gone)} if gone else {}
    return {"counts": {**found.dropped_counts, **late}, "named": named}
