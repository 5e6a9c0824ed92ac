"""The recommendation in a trace: a run of its own, or a part of a turn or of a tool call."""

from collections.abc import Sequence
from dataclasses import replace

from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.terminal.graph_picture import NODES
from mllm_srec.agent.tracing.attributes import LIST
from mllm_srec.store.spans import Event, Span
from mllm_srec.store.trace_schema import TraceError

RUN = "recommend"
"""Name of the runs of the recommendation graph by itself."""


def has_list(spans: Sequence[Span]) -> bool:
    """Whether the recommendation graph ran in a trace."""
    return any(span.name == NODES[0] for span in spans)


def recommendation_of(spans: Sequence[Span]) -> Sequence[Span]:
    """The spans of the recommendation, below a root that holds its request.

    Of a step that was tried again the last try counts.

    Raises:
        TraceError: None was made in the run, or its request was not recorded.
    """
    root = next((span for span in spans if span.parent_id is None), None)
    if root is None or root.name == RUN:
        return spans
    asked = [(span, event) for span in spans for event in span.events if event.name == LIST]
    for step, event in reversed(asked):
        nodes = [span for span in spans if span.parent_id == step.span_id and span.name in NODES]
        if nodes:
            ids = {node.span_id for node in nodes}
            below = [span for span in spans if span.parent_id in ids]
            return [
                _root(root, event, nodes),
                *(replace(node, parent_id=root.span_id) for node in nodes),
                *below,
            ]
    if has_list(spans):
        raise TraceError(
            f"what the list in this run of {root.name!r} was asked for was not kept: the run broke "
            "off, or an older version made it. Ask once more, and take the new trace"
        )
    raise TraceError(f"this is a run of {root.name!r} in which no list was made")


def _root(root: Span, event: Event, nodes: Sequence[Span]) -> Span:
    """The root span rewritten as a standalone recommendation."""
    kept = {name: value for name, value in root.attributes.items() if name != Names.OUTPUT_VALUE}
    return replace(
        root,
        name=RUN,
        start_ns=nodes[0].start_ns,
        end_ns=nodes[-1].end_ns,
        status=nodes[-1].status,
        message=nodes[-1].message,
        attributes={
            **kept,
            Names.INPUT_VALUE: event.attributes["request"],
            "srec.path": [node.name for node in nodes],
        },
        events=(),
    )
