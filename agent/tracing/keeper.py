"""OpenTelemetry spans on their way into the trace store."""

import random
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from mllm_srec.agent.tracing.attributes import code_version
from mllm_srec.agent.tracing.otlp import forwarder
from mllm_srec.store.spans import Attribute, Event, Span, Status
from mllm_srec.store.traces import TraceError, TraceStore


class SpanKeeper(SpanProcessor):
    """Hands spans to the store: nodes and runs also when they start, so that a crash shows them.

    Nothing waits here beyond the end of the step that it belongs to, so memory stays bounded.
    """

    def __init__(self, store: TraceStore) -> None:
        self.problem: str | None = None
        """Why something was not kept."""
        self._store = store
        self._ended: deque[Span] = deque()
        self._flushing = threading.Lock()

    def on_start(self, span: ReadableSpan, parent_context: Context | None = None) -> None:
        """Write that a node or a run has started."""
        # Calls and searches are recorded when they have ended: one write for each, not two.
        if _kind(span) not in (Kind.LLM.value, Kind.EMBEDDING.value, Kind.RETRIEVER.value):
            self._put([_record(span)])

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span that has ended for the next batch."""
        self._ended.append(_record(span))

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Write what has ended since the last time, as one batch."""
        with self.together():
            pass
        return self.problem is None

    @contextmanager
    def together(self, blobs: Iterable[bytes] = ()) -> Iterator[None]:
        """Write the spans that end inside, and the bytes that they name, as one batch."""
        # Or another thread would write the spans before their bytes.
        with self._flushing:
            yield
            batch = []
            while self._ended:
                batch.append(self._ended.popleft())
            self._put(batch, blobs)

    def _put(self, batch: list[Span], blobs: Iterable[bytes] = ()) -> None:
        try:
            self._store.put_spans(batch, blobs)
        except TraceError as error:
            self.problem = str(error)


class OwnIds(IdGenerator):
    """Ids from a generator of its own, which the system seeds.

    OpenTelemetry's come from Python's global `random`, which vLLM seeds when it starts: every
    process would draw the same ones, and its spans would take the place of those of the one before.
    Asking the system for each would give the interpreter to another thread each time.
    """

    def __init__(self) -> None:
        self._random = random.Random()

    def generate_span_id(self) -> int:
        """Any 64 bits but all zeros, which mean no span."""
        return self._random.randrange(1, 1 << 64)

    def generate_trace_id(self) -> int:
        """Any 128 bits but all zeros, which mean no trace."""
        return self._random.randrange(1, 1 << 128)

    def is_trace_id_random(self) -> bool:
        """All bits are."""
        return True


def span_provider(keeper: SpanKeeper, address: str | None) -> TracerProvider:
    """Where spans are made that go to the keeper, and on to an OTLP address if there is one.

    Raises:
        TraceError: The address is no plain one.
    """
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        id_generator=OwnIds(),
        resource=Resource({"service.name": "mllm-srec", "service.version": code_version()}),
        # What still waits to be sent on goes out when the program ends.
        shutdown_on_exit=address is not None,
        # All eight given here, so that no OTEL_* variable cuts a prompt.
        span_limits=SpanLimits(*[SpanLimits.UNSET] * 8),
        meter_provider=NoOpMeterProvider(),
    )
    provider.add_span_processor(keeper)
    if address is not None:
        provider.add_span_processor(forwarder(address))
    return provider


_STATUS: dict[otel.StatusCode, Status] = {
    otel.StatusCode.UNSET: "UNSET",
    otel.StatusCode.OK: "OK",
    otel.StatusCode.ERROR: "ERROR",
}


def _record(span: ReadableSpan) -> Span:
    """An OpenTelemetry span as the store keeps it."""
    # The SDK's value type is wider (bytes, maps): we never set such values.
    attributes = cast("Mapping[str, Attribute]", span.attributes or {})
    context = span.get_span_context()
    assert context is not None
    assert span.start_time is not None
    return Span(
        trace_id=otel.format_trace_id(context.trace_id),
        span_id=otel.format_span_id(context.span_id),
        parent_id=None if span.parent is None else otel.format_span_id(span.parent.span_id),
        name=span.name,
        kind=_kind(span),
        start_ns=span.start_time,
        end_ns=span.end_time,
        status=_STATUS[span.status.status_code],
        message=span.status.description or "",
        attributes=attributes,
        events=tuple(
            Event(e.name, e.timestamp, cast("Mapping[str, Attribute]", e.attributes or {}))
            for e in span.events
        ),
    )


def _kind(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    return str(attributes.get(Names.OPENINFERENCE_SPAN_KIND, Kind.UNKNOWN.value))
