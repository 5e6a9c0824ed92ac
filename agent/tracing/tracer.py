"""What a run did, as OpenTelemetry spans with OpenInference names, kept in the trace store.

A run is the root span, its nodes are the spans below, and each prompt sent to the model is a span
below its node (see `TracedCalls`). The provider is our own: nothing global changes, and nothing
leaves the machine.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType

from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace import StatusCode

from mllm_srec.agent.run_totals import RunTotals
from mllm_srec.agent.tracing.attributes import (
    SCORE,
    STORE_SECONDS,
    STORES,
    Attributes,
    Done,
    as_json,
    code_version,
    made_with,
    token_attributes,
    value_attributes,
)
from mllm_srec.agent.tracing.keeper import SpanKeeper, span_provider
from mllm_srec.agent.tracing.otlp import endpoint
from mllm_srec.agent.tracing.redaction import Redaction
from mllm_srec.agent.tracing.searches import search_span
from mllm_srec.llm.engine import EngineInfo, Picture
from mllm_srec.llm.pictures import as_png
from mllm_srec.store.clock import watching
from mllm_srec.store.spans import Attribute
from mllm_srec.store.trace_retention import Retention, delete, expired
from mllm_srec.store.trace_settings import pseudonym, read_settings
from mllm_srec.store.traces import TraceError, TraceStore
from mllm_srec.tools.sources import Search, listening

EXPIRE_EVERY = 100
"""Runs after which old traces are looked for again."""

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
        self.stores: dict[str, tuple[int, float]] = {}
        """How often each store was used and for how many seconds, without what lies in calls."""
        self._run = run

    @property
    def run(self) -> "Run":
        """The run that the step belongs to."""
        assert self._run is not None
        return self._run

    def add_store(self, store: str, seconds: float) -> None:
        """Count one use of a store."""
        uses, before = self.stores.get(store, (0, 0.0))
        self.stores[store] = uses + 1, before + seconds

    def add_search(self, search: Search) -> None:
        """Record a search that has ended."""
        self.run.tracer.put_done(self, [search_span(search)])

    def record(self, attributes: Attributes) -> None:
        """Record attributes of the step."""
        self.span.set_attributes(self.run.tracer.redaction.attributes(attributes, self.run.user))

    def output(self, value: object) -> None:
        """Record what the step made; anything that JSON can hold."""
        self.record(value_attributes(Names.OUTPUT_VALUE, Names.OUTPUT_MIME_TYPE, value))

    def set(self, **facts: Attribute) -> None:
        """Record facts about the step, as `srec.NAME`."""
        clean = self.run.tracer.redaction.facts(facts, self.run.user)
        self.span.set_attributes({f"srec.{name}": each for name, each in clean.items()})

    def event(self, name: str, **facts: Attribute) -> None:
        """Record what happened on the way: a `list` that was made, an answer in `plain form`."""
        self.span.add_event(name, self.run.tracer.redaction.facts(facts, self.run.user))


class Run(Step, RunTotals):
    """One run of a graph, and what it took."""

    def __init__(
        self, name: str, span: otel.Span, tracer: "Tracer", user: str | None = None
    ) -> None:
        Step.__init__(self, name, span)
        RunTotals.__init__(self)
        self.tracer = tracer
        self.user = user
        """Whose history the run reads."""
        self.trace_id = otel.format_trace_id(span.get_span_context().trace_id)
        self.path: list[str] = []
        """Nodes in the order in which they started."""

    @property
    def run(self) -> "Run":
        """Itself."""
        return self


class Tracer:
    """Writes runs, nodes and calls into a trace store, each when it ends.

    How, the settings of the trace file say: what is left out, what goes after a time, and where
    spans are sent on to.
    """

    def __init__(self, store: TraceStore) -> None:
        self.facts: Attributes = {}
        """What is known of every run from now on; stands in its root."""
        self._store = store
        self._keeper = SpanKeeper(store)
        self._runs = 0
        settings = read_settings(store)
        self._retention = Retention(days=settings.days, count=settings.count, mib=settings.mib)
        self.redaction = Redaction(settings.redact, lambda user: pseudonym(store, user))
        provider = span_provider(self._keeper, endpoint(settings))
        self._tracer = provider.get_tracer("mllm_srec", code_version())

    @property
    def problem(self) -> str | None:
        """Why something was not recorded, None while all is well; a run does not fail for it."""
        if isinstance(self._tracer, otel.NoOpTracer):
            return "nothing is traced, because OTEL_SDK_DISABLED is set: unset it to keep traces"
        return self._keeper.problem

    def files(self, pictures: Iterable[Picture]) -> dict[str, bytes]:
        """The PNG files of pictures that are kept, by their keys; none where they are left out."""
        if self.redaction.leaves_out("pictures"):
            return {}
        return {picture.key: as_png(picture) for picture in pictures}

    @contextmanager
    def run(
        self,
        name: str,
        *,
        user: str | None = None,
        session: str | None = None,
        inputs: object = None,
        engine: EngineInfo | None = None,
        facts: Mapping[str, Attribute] = MappingProxyType({}),
    ) -> Iterator[Run]:
        """Trace what happens inside as one run; `facts` say what it is made with (`provenance`)."""
        attributes: Attributes = {
            Names.OPENINFERENCE_SPAN_KIND: Kind.AGENT.value,
            Names.AGENT_NAME: "mllm-srec",
            "srec.code.version": code_version(),
            **({} if user is None else {Names.USER_ID: user}),
            **({} if session is None else {Names.SESSION_ID: session}),
            **({} if engine is None else made_with(engine)),
            **self.facts,
            **facts,
            **value_attributes(Names.INPUT_VALUE, Names.INPUT_MIME_TYPE, inputs),
        }
        self._expire()
        # An empty context: the root of its own trace, also inside a program that traces itself.
        clean = self.redaction.attributes(attributes, user)
        run = Run(name, self._tracer.start_span(name, Context(), attributes=clean), self, user)
        with self._active(run):
            try:
                yield run
            finally:
                run.end()
                run.span.set_attributes(token_attributes(run.total))
                run.set(calls=run.total.calls, engine_seconds=run.engine_seconds, path=run.path)
                if run.score is not None:
                    run.span.set_attribute(SCORE, run.score)

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
            **({Names.TOOL_NAME: name} if kind is Kind.TOOL else {}),
            **({Names.GRAPH_NODE_PARENT_ID: run.path[-1]} if run.path else {}),
            **({} if prompt_hash is None else {"srec.prompt_hash": prompt_hash}),
            **value_attributes(Names.INPUT_VALUE, Names.INPUT_MIME_TYPE, inputs),
        }
        run.path.append(name)
        clean = self.redaction.attributes(attributes, run.user)
        span = self._tracer.start_span(name, _below(parent), attributes=clean)
        step, started = Step(name, span, run), time.perf_counter()
        try:
            with self._active(step), watching(step.add_store), listening(step.add_search):
                try:
                    yield step
                finally:
                    span.set_attributes(_stores(step))
        finally:
            run.add_seconds(name, time.perf_counter() - started)

    def put_done(
        self,
        step: Step,
        batch: Sequence[Done],
        error: BaseException | None = None,
        pictures: Iterable[bytes] = (),
    ) -> None:
        """Record what a step did and has ended, one span for each.

        Args:
            step: The step that did it.
            batch: Calls, or searches.
            error: What ended them, None when they came to their end.
            pictures: Files that they name by their addresses, from `files`; kept, each once, with
                the spans.
        """
        context = _below(step)
        with self._keeper.together(pictures):
            for each in batch:
                clean = self.redaction.attributes(each.attributes, step.run.user)
                span = self._tracer.start_span(
                    each.name, context, attributes=clean, start_time=each.start_ns
                )
                self._set_status(span, error, step.run.user)
                span.end(each.end_ns)

    @contextmanager
    def _active(self, step: Step) -> Iterator[None]:
        """Make the step the parent of what follows in this task, and end it."""
        token = _current.set(step)
        try:
            yield
            self._set_status(step.span, None, step.run.user)
        except BaseException as error:
            self._set_status(step.span, error, step.run.user)
            raise
        finally:
            _current.reset(token)
            step.span.end()
            self._keeper.force_flush()

    def _set_status(self, span: otel.Span, error: BaseException | None, user: str | None) -> None:
        if error is None:
            span.set_status(StatusCode.OK)
        else:
            span.set_status(StatusCode.ERROR, self.redaction.message(error, user))

    def _expire(self) -> None:
        """Delete what is beyond the limits, now and then."""
        self._runs += 1
        if self._retention != Retention() and self._runs % EXPIRE_EVERY == 1:
            try:
                old = expired(self._store, self._retention, now_ns=time.time_ns())
                delete(self._store, old)
            except TraceError as error:
                self._keeper.problem = str(error)


def _stores(step: Step) -> Attributes:
    """How the stores worked for a step."""
    uses = {name: [count, round(each, 6)] for name, (count, each) in step.stores.items()}
    seconds = sum(each for _, each in step.stores.values())
    return {STORE_SECONDS: seconds, **({STORES: as_json(uses)} if uses else {})}


def _below(step: Step) -> Context:
    return otel.set_span_in_context(step.span, Context())
