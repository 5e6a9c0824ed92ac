"""The state of the graph before and after each node, put together from what the nodes returned."""

from collections.abc import Iterator, Mapping
from typing import Any

from mllm_srec.agent.inspection.records import NodeRecord, TraceRecord
from mllm_srec.store.trace_schema import TraceError

EXTENDED = frozenset({"windows"})
"""Fields to which an update is added; every other field is replaced (see `State`)."""

Values = dict[str, Any]


def states(trace: TraceRecord) -> Iterator[tuple[NodeRecord, Values, Values]]:
    """Yield each node with the state before and after it; a failed pass changes nothing.

    The nodes of a list that was made below a step have what the step asked for, too.
    """
    state = initial(trace)
    for node in trace.nodes:
        after = updated(state, node)
        yield node, state, after
        state = {**after, **_fields(node.requested)}


def steps(trace: TraceRecord, step: str) -> list[tuple[NodeRecord, Values, Values]]:
    """The tries of a step, `NODE` or `NODE:2` for the second pass, as `states` yields them.

    Raises:
        TraceError: The trace has no such step.
    """
    found = [each for each in states(trace) if each[0].step == step]
    if not found:
        there = ", ".join(dict.fromkeys(node.step for node in trace.nodes))
        raise TraceError(f"the trace has no step {step!r}: it has {there or 'none'}")
    return found


def initial(trace: TraceRecord) -> Values:
    """What the run was asked for, by the names of the state, and what a turn remembered.

    A turn that was taken up again had understood before.
    """
    asked = trace.run.input if isinstance(trace.run.input, Mapping) else {}
    first = trace.nodes[0].input if trace.nodes else None
    begun = first if isinstance(first, Mapping) else {}
    memory, understood = begun.get("memory"), begun.get("understood")
    return {
        **_fields(asked),
        **({"understood": understood} if understood else {}),
        **(memory if isinstance(memory, Mapping) else {}),
    }


def _fields(asked: Mapping[str, Any]) -> Values:
    """A request by the names of the state."""
    return {"user_id" if name == "user" else name: value for name, value in asked.items()}


def updated(state: Mapping[str, Any], node: NodeRecord) -> Values:
    """The state after a node; what a node returned that is no update (redacted) changes nothing."""
    if node.status == "ERROR" or not isinstance(node.output, Mapping):
        return dict(state)
    return {
        **state,
        **{
            name: [*state.get(name, []), *value] if name in EXTENDED else value
            for name, value in node.output.items()
        },
    }
