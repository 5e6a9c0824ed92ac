"""A stored trace as typed records: the run, its nodes in the order of their start, their calls."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from openinference.semconv.trace import MessageAttributes, MessageContentAttributes
from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.results import Tokens
from mllm_srec.agent.span_attributes import BATCH, IMAGE_URL, LOGPROB, STORED
from mllm_srec.store.spans import Attribute, Event, Span

_CALLS = (Kind.LLM.value, Kind.EMBEDDING.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One prompt and its answer."""

    kind: str
    """`generate`, `score_labels` or `embed`."""
    prompt: str
    """As sent: each message below a line with its role."""
    images: tuple[str, ...] = ()
    """`sha256:...` of the pictures as sent; `srec trace` finds their bytes by it."""
    answer: str | None = None
    """Raw; None where there was none."""
    seconds: float = 0.0
    """Its part of the time of the batch it went in."""
    batch: int = 1
    """Calls that went together."""
    stored: bool = False
    """True where an earlier run had answered it."""
    tokens: Tokens = field(default_factory=Tokens)
    logprobs: Mapping[str, float] = field(default_factory=dict)
    """Label to log-probability."""
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The call as plain JSON values."""
        return {
            "kind": self.kind,
            "prompt": self.prompt,
            "images": list(self.images),
            "answer": self.answer,
            "seconds": self.seconds,
            "batch": self.batch,
            "stored": self.stored,
            "tokens": _tokens_dict(self.tokens),
            **({"logprobs": dict(self.logprobs)} if self.logprobs else {}),
            **({"error": self.error} if self.error else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One pass of one node."""

    name: str
    depth: int
    """1 below the run, 2 below a node, ..."""
    offset: float
    """Seconds from the start of the run."""
    seconds: float | None
    """None where the process died in it."""
    status: str
    error: str = ""
    input: Any = None
    output: Any = None
    events: tuple[Event, ...] = ()
    calls: tuple[CallRecord, ...] = ()

    @property
    def tokens(self) -> Tokens:
        """Of all its calls."""
        return sum((call.tokens for call in self.calls), Tokens())

    def to_dict(self) -> dict[str, Any]:
        """The node as plain JSON values."""
        return {
            "name": self.name,
            "depth": self.depth,
            "offset": self.offset,
            "seconds": self.seconds,
            "status": self.status,
            "error": self.error,
            "input": self.input,
            "output": self.output,
            "events": [
                {"name": e.name, "time_ns": e.time_ns, **_lists(e.attributes)} for e in self.events
            ],
            "tokens": _tokens_dict(self.tokens),
            "calls": [call.to_dict() for call in self.calls],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The root of a trace, as a list of traces shows it; None stands for what was not recorded."""

    trace_id: str
    name: str
    user: str | None
    started: datetime
    seconds: float | None
    status: str
    """`OK`, `ERROR`, or `UNSET` while it runs, and for ever when the process died."""
    error: str = ""
    engine: str | None = None
    model: str | None = None
    calls: int | None = None
    tokens: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The run as plain JSON values."""
        return {
            "trace_id": self.trace_id,
            "run": self.name,
            "user": self.user,
            "started": self.started.isoformat(),
            "seconds": self.seconds,
            "status": self.status,
            "error": self.error,
            "engine": self.engine,
            "model": self.model,
            "calls": self.calls,
            "tokens": self.tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecord:
    """A whole trace."""

    run: RunRecord
    nodes: tuple[NodeRecord, ...]

    def to_dict(self) -> dict[str, Any]:
        """The trace as plain JSON values."""
        return {**self.run.to_dict(), "nodes": [node.to_dict() for node in self.nodes]}


def read_run(root: Span) -> RunRecord:
    """The record of a root span."""
    get = root.attributes.get
    calls, tokens = get("srec.calls"), get(Names.LLM_TOKEN_COUNT_TOTAL)
    return RunRecord(
        trace_id=root.trace_id,
        name=root.name,
        user=_text(get(Names.USER_ID)),
        started=datetime.fromtimestamp(root.start_ns / 1e9, UTC),
        seconds=root.seconds,
        status=root.status,
        error=root.message,
        engine=_text(get("srec.engine")),
        model=_text(get(Names.LLM_MODEL_NAME)),
        calls=calls if isinstance(calls, int) else None,
        tokens=tokens if isinstance(tokens, int) else None,
    )


def read_trace(spans: Sequence[Span]) -> TraceRecord:
    """The record of a trace's spans, in the order of their start; what is missing stays out."""
    root = next(span for span in spans if span.parent_id is None)
    calls: dict[str | None, list[Span]] = {}
    for span in spans:
        if span.kind in _CALLS:
            calls.setdefault(span.parent_id, []).append(span)
    parents = {span.span_id: span.parent_id for span in spans}
    nodes = [
        _node(span, root, _depth(span.span_id, parents), calls.get(span.span_id, ()))
        for span in spans
        if span.kind not in _CALLS and (span is not root or span.span_id in calls)
    ]
    return TraceRecord(run=read_run(root), nodes=tuple(nodes))


def _node(span: Span, root: Span, depth: int, calls: Iterable[Span]) -> NodeRecord:
    return NodeRecord(
        name=span.name,
        depth=depth,
        offset=(span.start_ns - root.start_ns) / 1e9,
        seconds=span.seconds,
        status=span.status,
        error=span.message,
        input=_value(span.attributes.get(Names.INPUT_VALUE)),
        output=_value(span.attributes.get(Names.OUTPUT_VALUE)),
        events=span.events,
        calls=tuple(map(_call, calls)),
    )


def _call(span: Span) -> CallRecord:
    get = span.attributes.get
    batch = _count(get(BATCH, 1)) or 1
    stored = bool(get(STORED, False))
    prompt, images = _prompt(span.attributes)
    content = MessageAttributes.MESSAGE_CONTENT
    return CallRecord(
        kind=span.name,
        prompt=prompt,
        images=images,
        answer=_text(get(f"{Names.LLM_OUTPUT_MESSAGES}.0.{content}")),
        seconds=(span.seconds or 0.0) / batch,
        batch=batch,
        stored=stored,
        tokens=Tokens(
            calls=int(not stored),
            stored=int(stored),
            prompt=_count(get(Names.LLM_TOKEN_COUNT_PROMPT)),
            completion=_count(get(Names.LLM_TOKEN_COUNT_COMPLETION)),
            cached=_count(get(Names.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ)),
        ),
        logprobs={
            name.removeprefix(LOGPROB): float(value)
            for name, value in span.attributes.items()
            if name.startswith(LOGPROB) and isinstance(value, int | float)
        },
        error=span.message,
    )


def _prompt(attributes: Mapping[str, Attribute]) -> tuple[str, tuple[str, ...]]:
    """Messages and pictures of a call; the texts of an embedding are its prompt."""
    messages, images = [], []
    number = 0
    while (start := f"{Names.LLM_INPUT_MESSAGES}.{number}.") + _ROLE in attributes:
        parts = [attributes.get(start + MessageAttributes.MESSAGE_CONTENT, "")]
        index = 0
        while (
            part := f"{start}{MessageAttributes.MESSAGE_CONTENTS}.{index}."
        ) + _TYPE in attributes:
            if part + IMAGE_URL in attributes:
                images.append(str(attributes[part + IMAGE_URL]))
            parts.append(attributes.get(part + _TEXT, ""))
            index += 1
        text = "\n".join(str(each) for each in parts if each)
        messages.append(f"{attributes[start + _ROLE]}:\n{text}")
        number += 1
    if not messages:
        return str(attributes.get(Names.INPUT_VALUE, "")), ()
    return "\n\n".join(messages), tuple(images)


_ROLE = MessageAttributes.MESSAGE_ROLE
_CONTENTS = MessageAttributes.MESSAGE_CONTENTS
_TYPE = MessageContentAttributes.MESSAGE_CONTENT_TYPE
_TEXT = MessageContentAttributes.MESSAGE_CONTENT_TEXT


def _depth(span_id: str, parents: Mapping[str, str | None]) -> int:
    """Steps up to the root; a span whose parent was lost counts as directly below the run."""
    depth, parent = 0, parents.get(span_id)
    while parent is not None:
        depth, parent = depth + 1, parents.get(parent)
    return depth


def _value(text: Attribute | None) -> Any:
    """A recorded value; text that is no JSON (cut, or lost) stays text."""
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Attribute | None) -> str | None:
    return None if value is None else str(value)


def _count(value: Attribute | None) -> int:
    return value if isinstance(value, int) else 0


def _lists(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    return {n: list(v) if isinstance(v, tuple) else v for n, v in attributes.items()}


def _tokens_dict(tokens: Tokens) -> dict[str, int]:
    return {
        "calls": tokens.calls,
        "stored": tokens.stored,
        "prompt": tokens.prompt,
        "completion": tokens.completion,
        "cached": tokens.cached,
    }
