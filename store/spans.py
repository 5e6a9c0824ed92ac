"""Spans as records, and the form in which a batch of them is packed into rows.

Spans that went together (the calls of one batch) become one row, in which what they have in common
(settings, the shared beginning of scoring prompts) stands once, so that a turn with a hundred
scoring calls stays small. Readers see plain spans.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from mllm_srec.store.span_rows import squeezed, unsqueezed

INLINE_CHARS = 256
"""Longer strings become blobs; a reference costs about 15 bytes."""
INLINE_ITEMS = 32
"""Longer lists, such as vectors, become blobs."""
LOST = "[lost]"
"""Stands in the place of a text whose bytes are gone."""
PREFIX_CHARS = 64
"""Shortest common beginning of texts that is worth a blob."""

Attribute = (
    str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
)
Status = Literal["UNSET", "OK", "ERROR"]
"""`UNSET` while a span runs, and for ever when the process died in it."""
Row = tuple[Any, ...]
"""Values in the order of `COLUMNS`."""
COLUMNS = (
    "trace_id", "span_id", "parent_id", "name", "kind", "start_ns", "end_ns", "status", "message",
    "attributes", "shared", "events",
)  # fmt: skip


def is_lost(value: object) -> bool:
    """Whether a value stands for one whose bytes, or whose beginning, are gone."""
    return isinstance(value, str) and value.startswith(LOST)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One OpenTelemetry span; ids are lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    parent_id: str | None
    """None for the root of a trace."""
    name: str
    kind: str
    """OpenInference span kind: `AGENT`, `CHAIN`, `LLM`, ..."""
    start_ns: int
    """Nanoseconds since 1970-01-01 UTC."""
    end_ns: int | None
    """None while the span runs, and for ever when the process died in it."""
    status: Status = "UNSET"
    message: str = ""
    """Of an error."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Wall seconds, None for a span without an end."""
        return None if self.end_ns is None else (self.end_ns - self.start_ns) / 1e9


def pack(batch: Sequence[Span], put: Callable[[bytes], int]) -> list[Row]:
    """Turn spans into rows, one for those that follow each other and are alike.

    Args:
        batch: Spans written together.
        put: Keeps bytes and returns the number that finds them again.
    """
    groups = (list(group) for _, group in groupby(batch, key=_likeness))
    return [_packed(group, put) for group in groups]


def _likeness(span: Span) -> tuple[Any, ...]:
    """Equal for the calls of one batch; what has events is like nothing else."""
    place = (span.trace_id, span.parent_id, span.name, span.kind, span.start_ns, span.end_ns)
    return *place, span.status, span.message, span.span_id if span.events else None


def _packed(batch: Sequence[Span], put: Callable[[bytes], int]) -> Row:
    common = _common(batch)
    heads = {name: (head, put(_bytes(head))) for name, head in _heads(batch, common).items()}

    def packed(name: str, value: Attribute) -> object:
        if isinstance(value, list | tuple) and len(value) > INLINE_ITEMS:
            return {"list": put(_json(value).encode())}
        if not isinstance(value, str):
            return value
        if name in heads:
            head, number = heads[name]
            return {"blob": number, "tail": value[len(head) :]}
        return {"blob": put(_bytes(value))} if len(value) > INLINE_CHARS else value

    def all_packed(attributes: Mapping[str, Attribute]) -> dict[str, object]:
        return {name: packed(name, value) for name, value in attributes.items()}

    same = all_packed(common)
    own = [{n: v for n, v in all_packed(s.attributes).items() if n not in common} for s in batch]
    if len(own) == 1:
        # SQL reads the attributes of a root.
        is_root = batch[0].parent_id is None
        return _row(batch[0], _json(own[0]) if is_root else squeezed(own[0]), None)
    # One table: names once, null for what a span does not have, one compression over all spans.
    names = list(dict.fromkeys(name for each in own for name in each))
    rows = [[each.get(name) for name in names] for each in own]
    table = [names, rows, same, [span.span_id for span in batch]]
    return _row(batch[0], _json(None), put(_json(table).encode()))


def unpack(row: Row, get: Callable[[int], bytes | None]) -> list[Span]:
    """Turn a row back into its spans; what is lost says so in its place."""
    trace_id, span_id, parent_id, name, kind, start_ns, end_ns, status, message, *rest = row
    own, shared, events = rest

    def unpacked(value: Any) -> Attribute:
        if isinstance(value, dict) and "list" in value:
            content = get(value["list"])
            return LOST if content is None else tuple(json.loads(content))
        if isinstance(value, dict):
            content = get(value["blob"])
            head = LOST if content is None else content.decode("utf-8", "surrogatepass")
            return head + str(value.get("tail", ""))
        return tuple(value) if isinstance(value, list) else value

    return [
        Span(
            trace_id=trace_id.hex(),
            span_id=each or span_id.hex(),
            parent_id=None if parent_id is None else parent_id.hex(),
            name=name,
            kind=kind,
            start_ns=start_ns,
            end_ns=end_ns,
            status=status,
            message=message,
            attributes={n: unpacked(v) for n, v in values.items()},
            events=tuple(
                Event(happened, time_ns, {n: unpacked(v) for n, v in facts.items()})
                for happened, time_ns, facts in json.loads(events)
            ),
        )
        for each, values in _values(own, None if shared is None else get(shared))
    ]


def _common(batch: Sequence[Span]) -> dict[str, Attribute]:
    """Attributes with one value in all spans of a batch of at least two."""
    if len(batch) < 2:
        return {}
    first, *others = [span.attributes for span in batch]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and _same(other[name], value) for other in others)
    }


def _row(span: Span, attributes: str | bytes, shared: int | None) -> Row:
    return (
        bytes.fromhex(span.trace_id),
        bytes.fromhex(span.span_id),
        None if span.parent_id is None else bytes.fromhex(span.parent_id),
        _storable(span.name),
        span.kind,
        span.start_ns,
        span.end_ns,
        span.status,
        _storable(span.message),
        attributes,
        shared,
        _json([[e.name, e.time_ns, dict(e.attributes)] for e in span.events]),
    )


def _values(
    attributes: str | bytes, shared: bytes | None
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield the packed attributes of each span of a row, with its id where the row lacks it."""
    own = unsqueezed(attributes) if isinstance(attributes, bytes) else json.loads(attributes)
    if isinstance(own, dict):
        yield None, {**json.loads(shared or "{}"), **own}
    elif shared is None:
        yield None, {LOST: LOST}
    else:
        names, rows, same, *ids = json.loads(shared)
        # Before version 3 each span of a table had a row of its own, with its line in the table.
        lines = [(None, rows[own])] if own is not None else zip(ids[0], rows, strict=True)
        for each, line in lines:
            values = zip(names, line, strict=True)
            yield each, {**same, **{name: value for name, value in values if value is not None}}


def _same(one: Attribute, other: Attribute) -> bool:
    """Equality that tells True from 1."""
    return type(one) is type(other) and one == other


def _heads(batch: Sequence[Span], common: Mapping[str, Attribute]) -> dict[str, str]:
    """The common beginnings, by attribute, of the strings in which all spans differ."""
    if len(batch) < 2:
        return {}
    heads = {}
    for name in batch[0].attributes:
        values = [span.attributes.get(name) for span in batch]
        if name not in common and all(isinstance(value, str) for value in values):
            head = beginning([str(value) for value in values])
            if len(head) >= PREFIX_CHARS:
                heads[name] = head
    return heads


def beginning(texts: Sequence[str]) -> str:
    """The longest beginning that all texts have: that of the two extremes in sorted order."""
    first, last = min(texts), max(texts)
    return first[: next((i for i, c in enumerate(first) if c != last[i : i + 1]), len(first))]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _storable(text: str) -> str:
    """SQLite takes no lone surrogates; a broken catalogue text may hold some."""
    return text.encode("utf-8", "backslashreplace").decode()
