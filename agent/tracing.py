"""What a run did, as OpenTelemetry spans with OpenInference names, kept in the trace store.

A run is the root span, its nodes are the spans below, and each prompt sent to the model is a span
below its node (see `traced_calls`). The provider is our own: nothing global changes, and nothing
leaves the machine.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import cast

from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import StatusCode

from mllm_srec.agent.results import Tokens
from mllm_srec.agent.span_attributes import (
    Attributes,
    as_json,
    code_version,
    engine_attributes,
    token_attributes,
    value_attributes,
)
from mllm_srec.llm.engine import EngineInfo
from mllm_srec.store.spans import Attribute, Event, Span
from mllm_srec.store.traces import TraceError, TraceStore

_current: ContextVar["Step | None"] = ContextVar("srec_step", default=None)


@contextmanager
def engine_time() -> Iterator[None]:
    """Count the time inside as the engine's in the run of this task, if there is one."""
    step = _current.get()
    with step.run.engine_time() if step else nullcontext():
        yield


def current_step() -> "Step | None":
    """The innermost step of this task or thread, None outside a run."""
    return _current.get()


class Step:
    """A span that is running: a node, or a whole run."""

    def __init__(self, name: str, span: otel.Span, run: "Run | None" = None) -> None:
        self.name = name
        self.span = span
        self._run = run

    @property
    def run(self) -> "Run":
        """The run that the step belongs to."""
        assert self._run is not None
        return self._run

    def output(self, value: object) -> None:
        """Record what the step made; anything that JSON can hold."""
        self.span.set_attribute(Names.OUTPUT_VALUE, as_json(value))
        self.span.set_attribute(Names.OUTPUT_MIME_TYPE, "application/json")

    def set(self, **facts: Attribute) -> None:
        """Record facts about the step, as `srec.NAME`."""
        self.span.set_attributes({f"srec.{name}": each for name, each in facts.items()})

    def event(self, name: str, **facts: Attribute) -> None:
        """Record what happened on the way: `cache_hit`, `fallback`, `retry`, `dropped`, ..."""
        self.span.add_event(name, facts)


class Run(Step):
    """One run of a graph, and what it took: summed up while its nodes and calls end."""

    def __init__(
        self, name: str, span: otel.Span, tracer: "Tracer", user: str | None = None
    ) -> None:
        super().__init__(name, span)
        self.tracer = tracer
        self.user = user
        """Whose history the run reads."""
        self.trace_id = otel.format_trace_id(span.get_span_context().trace_id)
        self.path: list[str] = []
        """Nodes in the order in which they started."""
        self.seconds: dict[str, float] = {}
        """Wall seconds a node, over all its passes."""
        self.tokens: dict[str, Tokens] = {}
        """Calls and tokens a node."""
        self.engine_seconds = 0.0
        """Seconds during which at least one call was with the engine."""
        self._lock = threading.Lock()
        self._calling = 0
        self._called_at = 0.0
        self._started = time.perf_counter()
        self._ended: float | None = None

    @property
    def run(self) -> "Run":
        """Itself."""
        return self

    @property
    def total_seconds(self) -> float:
        """Wall seconds of the run, until now while it runs."""
        ended = time.perf_counter() if self._ended is None else self._ended
        return ended - self._started

    @property
    def total(self) -> Tokens:
        """Calls and tokens of all nodes."""
        return sum(self.tokens.values(), Tokens())

    def end(self) -> None:
        """Stop the clock of the run."""
        self._ended = time.perf_counter()

    def add_seconds(self, node: str, seconds: float) -> None:
        """Count a pass of a node."""
        with self._lock:
            self.seconds[node] = self.seconds.get(node, 0.0) + seconds

    def add_tokens(self, node: str, tokens: Tokens) -> None:
        """Count calls of a node."""
        with self._lock:
            self.tokens[node] = self.tokens.get(node, Tokens()) + tokens

    @contextmanager
    def engine_time(self) -> Iterator[None]:
        """Count the time inside as the engine's; what overlaps counts once."""
        with self._lock:
            if not self._calling:
                self._called_at = time.perf_counter()
            self._calling += 1
        try:
            yield
        finally:
            with self._lock:
                self._calling -= 1
                if not self._calling:
                    self.engine_seconds += time.perf_counter() - self._called_at


class Tracer:
    """Writes runs, nodes and calls into a trace store, each when it ends."""

    def __init__(self, store: TraceStore) -> None:
        self._keeper = _Keeper(store)
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": "mllm-srec", "service.version": code_version()}),
            shutdown_on_exit=False,
            # All eight given here, so that no OTEL_* variable cuts a prompt.
            span_limits=SpanLimits(*[SpanLimits.UNSET] * 8),
            meter_provider=NoOpMeterProvider(),
        )
        provider.add_span_processor(self._keeper)
        self._tracer = provider.get_tracer("mllm_srec", code_version())

    @property
    def problem(self) -> str | None:
        """Why something was not recorded, None while all is well; a run does not fail for it."""
        if isinstance(self._tracer, otel.NoOpTracer):
            return "nothing is traced, because OTEL_SDK_DISABLED is set: unset it to keep traces"
        return self._keeper.problem

    def keep(self, content: bytes) -> str:
        """Keep bytes once; returns their address for an attribute, `sha256:...`."""
        return self._keeper.put_blob(content)

    @contextmanager
    def run(
        self,
        name: str,
        *,
        user: str | None = None,
        session: str | None = None,
        inputs: object = None,
        engine: EngineInfo | None = None,
    ) -> Iterator[Run]:
        """Trace what happens inside as one run."""
        attributes: Attributes = {
            Names.OPENINFERENCE_SPAN_KIND: Kind.AGENT.value,
            Names.AGENT_NAME: "mllm-srec",
            "srec.code.version": code_version(),
            **({} if user is None else {Names.USER_ID: user}),
            **({} if session is None else {Names.SESSION_ID: session}),
            **({} if engine is None else engine_attributes(engine)),
            **value_attributes(Names.INPUT_VALUE, Names.INPUT_MIME_TYPE, inputs),
        }
        # An empty context: the root of its own trace, also inside a program that traces itself.
        run = Run(name, self._tracer.start_span(name, Context(), attributes=attributes), self, user)
        with self._active(run):
            try:
                yield run
            finally:
                run.end()
                run.span.set_attributes(token_attributes(run.total))
                run.set(calls=run.total.calls, engine_seconds=run.engine_seconds, path=run.path)

    @contextmanager
    def node(
        self,
        name: str,
        *,
        inputs: object = None,
        kind: Kind = Kind.CHAIN,
        prompt_hash: str | None = None,
    ) -> Iterator[Step]:
        """Trace what happens inside as one node of the current run.

        Args:
            name: Of the node in the graph.
            inputs: What it reads of the state; anything that JSON can hold.
            kind: What a viewer should take it for.
            prompt_hash: Hash over the prompt files that the node fills.

        Raises:
            LookupError: No run is being traced here.
        """
        parent = _current.get()
        if parent is None:
            raise LookupError(f"node {name!r} runs outside a run: enter `tracer.run` first")
        run = parent.run
        attributes: Attributes = {
            Names.OPENINFERENCE_SPAN_KIND: kind.value,
            Names.GRAPH_NODE_ID: name,
            **({Names.GRAPH_NODE_PARENT_ID: run.path[-1]} if run.path else {}),
            **({} if prompt_hash is None else {"srec.prompt_hash": prompt_hash}),
            **value_attributes(Names.INPUT_VALUE, Names.INPUT_MIME_TYPE, inputs),
        }
        run.path.append(name)
        span = self._tracer.start_span(name, _below(parent), attributes=attributes)
        started = time.perf_counter()
        try:
            with self._active(step := Step(name, span, run)):
                yield step
        finally:
            run.add_seconds(name, time.perf_counter() - started)

    def put_calls(
        self,
        step: Step,
        name: str,
        calls: Sequence[Mapping[str, Attribute]],
        *,
        start_ns: int,
        error: BaseException | None,
    ) -> None:
        """Record a batch of calls that has just ended, one span for each.

        Args:
            step: The step that made them.
            name: Of the spans.
            calls: Attributes of each call.
            start_ns: When the batch was handed over, nanoseconds since 1970-01-01 UTC.
            error: What ended the batch, None when it was answered.
        """
        context, end_ns = _below(step), time.time_ns()
        for attributes in calls:
            span = self._tracer.start_span(
                name, context, attributes=attributes, start_time=start_ns
            )
            _set_status(span, error)
            span.end(end_ns)
        self._keeper.force_flush()

    @contextmanager
    def _active(self, step: Step) -> Iterator[None]:
        """Make the step the parent of what follows in this task, and end it."""
        token = _current.set(step)
        try:
            yield
            _set_status(step.span, None)
        except BaseException as error:
            _set_status(step.span, error)
            raise
        finally:
            _current.reset(token)
            step.span.end()
            self._keeper.force_flush()


class _Keeper(SpanProcessor):
    """Hands spans to the store: nodes and runs also when they start, so that a crash shows them."""

    def __init__(self, store: TraceStore) -> None:
        self.problem: str | None = None
        self._store = store
        self._ended: deque[Span] = deque()

    def on_start(self, span: ReadableSpan, parent_context: Context | None = None) -> None:
        # Calls are recorded when they have ended: one write for each, not two.
        if _kind(span) not in (Kind.LLM.value, Kind.EMBEDDING.value):
            self._put([_record(span)])

    def on_end(self, span: ReadableSpan) -> None:
        self._ended.append(_record(span))

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Write what has ended since the last time, as one batch."""
        batch = []
        while self._ended:
            batch.append(self._ended.popleft())
        return self._put(batch)

    def put_blob(self, content: bytes) -> str:
        """Keep bytes once; returns their address, `lost` where they could not be written."""
        try:
            return f"sha256:{self._store.put_blob(content)}"
        except TraceError as error:
            self.problem = str(error)
            return "lost"

    def _put(self, batch: list[Span]) -> bool:
        try:
            self._store.put_spans(batch)
        except TraceError as error:
            self.problem = str(error)
            return False
        return True


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
        status=span.status.status_code.name,
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


def _set_status(span: otel.Span, error: BaseException | None) -> None:
    if error is None:
        span.set_status(StatusCode.OK)
    else:
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")


def _below(step: Step) -> Context:
    return otel.set_span_in_context(step.span, Context())
