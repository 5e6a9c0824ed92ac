"""A stored trace read into records: spans in, what is missing named."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from openinference.semconv.trace import DocumentAttributes, MessageAttributes
from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.ask import AGAIN, REFUSED
from mllm_srec.agent.inspection.prompts import prompt_text, read_messages
from mllm_srec.agent.inspection.records import (
    CallRecord,
    NodeRecord,
    RunRecord,
    SearchRecord,
    TraceRecord,
)
from mllm_srec.agent.results import Tokens
from mllm_srec.agent.tracing.attributes import (
    BATCH,
    DROPPED,
    EDITS,
    FOUND,
    LIST,
    LOGPROB,
    NOISE_FLOOR,
    PARENT,
    PHASE,
    PHASES,
    PROVENANCE,
    REDACTED,
    SCORE,
    STORE_SECONDS,
    STORED,
    STORES,
    TOKEN_ID,
)
from mllm_srec.store.spans import Attribute, Span, is_lost
from mllm_srec.store.trace_notes import annotations
from mllm_srec.store.traces import TraceStore

_SEARCH = Kind.RETRIEVER.value
_LEAVES = (Kind.LLM.value, Kind.EMBEDDING.value, _SEARCH)
"""Kinds of the spans below which nothing lies; all others are nodes."""
_ID = DocumentAttributes.DOCUMENT_ID
_ANSWER = f"{Names.LLM_OUTPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_CONTENT}"


def load_trace(store: TraceStore, trace_id: str) -> TraceRecord:
    """The trace of an id, or of its beginning, with what people said of it.

    Raises:
        TraceError: No trace, or more than one, has that id.
    """
    trace = read_trace(store.spans(trace_id))
    return replace(trace, annotations=tuple(annotations(store, trace.run.trace_id)))


def read_run(root: Span) -> RunRecord:
    """The record of a root span."""
    get = root.attributes.get
    path = get("srec.path", ())
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
        calls=_whole(get("srec.calls")),
        tokens=_whole(get(Names.LLM_TOKEN_COUNT_TOTAL)),
        score=_number(get(SCORE)),
        noise_floor=_number(get(NOISE_FLOOR)),
        parent=_text(get(PARENT)),
        edits=_value(get(EDITS)),
        path=tuple(map(str, path)) if isinstance(path, Sequence) else (),
        provenance={
            name: _value(value) if name == "srec.settings" else value
            for name, value in root.attributes.items()
            if name in PROVENANCE
        },
        input=_value(get(Names.INPUT_VALUE)),
        output=_value(get(Names.OUTPUT_VALUE)),
    )


def read_trace(spans: Sequence[Span]) -> TraceRecord:
    """The record of a trace's spans, in the order of their start; what is missing is named."""
    roots = [span for span in spans if span.parent_id is None]
    root = roots[0] if roots else replace(spans[0], parent_id=None, kind="AGENT", attributes={})
    below: dict[str | None, list[Span]] = {}
    for span in spans:
        if span.kind in _LEAVES:
            below.setdefault(span.parent_id, []).append(span)
    parents = {span.span_id: span.parent_id for span in spans}
    nodes = [
        _node(span, root, _depth(span.span_id, parents), below.get(span.span_id, ()))
        for span in spans
        if span.kind not in _LEAVES and (span not in roots or span.span_id in below)
    ]
    run = read_run(root)
    return TraceRecord(
        run=run,
        nodes=tuple(_numbered(nodes, run.parent)),
        missing=tuple(dict.fromkeys(_missing(spans, bool(roots)))),
    )


def _numbered(nodes: Iterable[NodeRecord], parent: str | None) -> Iterator[NodeRecord]:
    """Yield the nodes with the number of the pass in their step.

    A retry is the same pass; a fork counts on from the step of its parent.
    """
    name, _, number_before = (parent or "").rpartition(" ")[2].partition(":")
    passes = {name: int(number_before) - 1} if number_before.isdecimal() else {}
    last: dict[str, NodeRecord] = {}
    for node in nodes:
        before = last.get(node.name)
        again = before is not None and before.status == "ERROR"
        if not again:
            passes[node.name] = passes.get(node.name, 0) + 1
        number = passes[node.name]
        step = node.name if number == 1 else f"{node.name}:{number}"
        tries = before.tries + 1 if before and again else 1
        last[node.name] = replace(node, step=step, tries=tries)
        yield last[node.name]


def _missing(spans: Sequence[Span], has_root: bool) -> Iterator[str]:
    """Yield what is not there, in words."""
    if not has_root:
        yield "the run itself is lost: only some of its spans were written"
    ids = {span.span_id for span in spans}
    for span in spans:
        if span.end_ns is None:
            yield f"{span.name} has no end: it runs, or its process died in it"
        if span.parent_id is not None and span.parent_id not in ids and has_root:
            yield f"the step that {span.name} belongs to is lost"
        values = span.attributes.values()
        if any(map(is_lost, values)):
            yield f"a text or picture of {span.name} is lost"
        if REDACTED in values:
            yield "parts were left out (redacted)"


def _node(span: Span, root: Span, depth: int, below: Sequence[Span]) -> NodeRecord:
    return NodeRecord(
        name=span.name,
        step=span.name,
        depth=depth,
        offset=(span.start_ns - root.start_ns) / 1e9,
        seconds=span.seconds,
        status=span.status,
        store_seconds=_number(span.attributes.get(STORE_SECONDS)),
        stores=_stores(span.attributes.get(STORES)),
        error=span.message,
        input=_value(span.attributes.get(Names.INPUT_VALUE)),
        output=_value(span.attributes.get(Names.OUTPUT_VALUE)),
        dropped=_value(span.attributes.get(DROPPED)),
        requested=_requested(span),
        events=span.events,
        calls=tuple(_validated([_call(each) for each in below if each.kind != _SEARCH])),
        searches=tuple(_search(each, root) for each in below if each.kind == _SEARCH),
    )


def _requested(span: Span) -> dict[str, Any]:
    asked = [_value(event.attributes["request"]) for event in span.events if event.name == LIST]
    return asked[-1] if asked and isinstance(asked[-1], dict) else {}


def _stores(text: Attribute | None) -> dict[str, tuple[int, float]]:
    found = _value(text)
    return {n: (uses, s) for n, (uses, s) in found.items()} if isinstance(found, dict) else {}


def _search(span: Span, root: Span) -> SearchRecord:
    best, number = {}, 0
    while (start := f"{Names.RETRIEVAL_DOCUMENTS}.{number}.") + _ID in span.attributes:
        score = _number(span.attributes.get(start + DocumentAttributes.DOCUMENT_SCORE))
        best[str(span.attributes[start + _ID])] = math.nan if score is None else score
        number += 1
    return SearchRecord(
        source=span.name,
        offset=(span.start_ns - root.start_ns) / 1e9,
        seconds=span.seconds or 0.0,
        found=_count(span.attributes.get(FOUND)),
        best=best,
    )


def _validated(calls: Sequence[CallRecord]) -> Iterator[CallRecord]:
    """Yield the calls, with what was wrong with those that a later one repairs.

    A repair holds the whole prompt, the refused answer, and the reason: so the validation of an
    answer is recorded in the words in which the model was told.
    """
    problems: dict[str, str] = {}
    repairs = set()
    for index, call in enumerate(calls):
        start, found, reason = call.prompt.rpartition(f"\n\nuser:\n{REFUSED}")
        if found:
            problems[start] = reason.removesuffix(AGAIN)
            repairs.add(index)
    for index, call in enumerate(calls):
        asked = f"{call.prompt}\n\nassistant:\n{call.answer}"
        yield replace(call, problem=problems.get(asked), repairs=index in repairs)


def _call(span: Span) -> CallRecord:
    get = span.attributes.get
    batch = _count(get(BATCH, 1)) or 1
    stored = bool(get(STORED, False))
    messages = tuple(read_messages(span.attributes))
    settings = _value(get(Names.LLM_INVOCATION_PARAMETERS))
    settings = settings if isinstance(settings, dict) else {}
    return CallRecord(
        kind=span.name,
        prompt=prompt_text(messages) if messages else str(get(Names.INPUT_VALUE, "")),
        messages=messages,
        images=tuple(image for message in messages for image in message.images),
        sizes=tuple(size for message in messages for size in message.sizes),
        pixels=tuple(key for message in messages for key in message.pixels),
        answer=_text(get(_ANSWER)),
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
        phases={
            name: value for name in PHASES if (value := _number(get(PHASE % name))) is not None
        },
        logprobs=_logprobs(span.attributes, settings.get("labels", ())),
        token_ids={
            name.removeprefix(TOKEN_ID): _count(value)
            for name, value in span.attributes.items()
            if name.startswith(TOKEN_ID)
        },
        settings=settings,
        error=span.message,
    )


def _logprobs(attributes: Mapping[str, Attribute], labels: Sequence[str]) -> dict[str, float]:
    """Log-probabilities by label, in the order in which the labels were asked for."""
    found = {
        name.removeprefix(LOGPROB): float(value)
        for name, value in attributes.items()
        if name.startswith(LOGPROB) and isinstance(value, int | float)
    }
    order = [label for label in labels if label in found]
    return {label: found[label] for label in dict.fromkeys([*order, *found])}


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


def _whole(value: Attribute | None) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Attribute | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None
