"""Leaving parts out of traces that were written with them."""

from functools import partial

from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.tracing.redaction import Redaction
from mllm_srec.store.trace_retention import compact
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.trace_settings import Part, pseudonym
from mllm_srec.store.traces import TraceStore


def leave_out(store: TraceStore, parts: frozenset[Part], user: str | None = None) -> int:
    """Leave parts out of old traces, so that no byte of them stays; how many traces there were.

    Annotations stay. A run that is under way goes on as it began.

    Args:
        store: The traces.
        parts: What to leave out.
        user: Whose traces; None for all.

    Raises:
        TraceError: The file cannot be written, or another process is writing.
    """
    owners = {
        root.trace_id: str(root.attributes.get(Names.USER_ID, ""))
        for root in find(store, TraceFilter(user=user))
    }
    # Before: while a trace is rewritten nothing else may be written.
    hidden = set(owners.values()) if "users" in parts else set()
    names = {owner: pseudonym(store, owner) for owner in hidden}
    redaction = Redaction(parts, names.__getitem__)
    for trace_id, owner in owners.items():
        store.rewrite(bytes.fromhex(trace_id), partial(redaction.span, user=owner or None))
    compact(store)
    return len(owners)
