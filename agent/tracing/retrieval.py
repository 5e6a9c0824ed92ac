"""Retrieval, recorded: a span for each source, and what was dropped, with the node."""

from collections.abc import Mapping, Sequence
from typing import Any

from mllm_srec.agent.tracing.attributes import DROPPED, as_json
from mllm_srec.agent.tracing.searches import DIGITS, search_span
from mllm_srec.agent.tracing.tracer import Step
from mllm_srec.tools.retrieval import Retrieval


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
    step.run.tracer.put_done(step, [search_span(each) for each in found.searches])
    step.record({DROPPED: as_json(_dropped(found, wishes, gone))})


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
