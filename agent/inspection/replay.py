"""Running a recorded recommendation again: from its recorded answers, or on from one of its steps.

Neither touches the old trace. A replay asks no model and keeps nothing; a fork is a new run with a
trace of its own that names its parent.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START
from langsmith import tracing_context
from numpy.typing import NDArray

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.graph import build_graph
from mllm_srec.agent.inspection.diff import TraceDiff, diff
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.inspection.recorded_calls import RecordedCalls
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.inspection.state import states, steps
from mllm_srec.agent.state import Context, Settings, State
from mllm_srec.agent.tracing.attributes import EDITS, PARENT, REDACTED, Attributes, as_json
from mllm_srec.agent.tracing.calls import TracedCalls
from mllm_srec.agent.tracing.tracer import Tracer
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, ModelError, Prompt
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.ranking import CombineWeights

RUN = "recommend"
"""Name of the runs that can be replayed and forked."""
AFTER_RETRIEVAL = ("score_targets", "explain")
"""Steps that look nothing up in the index, so that another model may take them."""
FIELDS = tuple(field.name for field in fields(State))
"""Names of the state's fields; what a trace holds beside them is of the request."""
_CONFIG: RunnableConfig = {"recursion_limit": 10_000}


def replay(deployment: Deployment, spans: Sequence[Span]) -> TraceDiff:
    """Run a trace again from its recorded answers, and compare bit for bit.

    Args:
        deployment: The home that it ran on; its engine is neither asked nor loaded.
        spans: Of the trace.

    Raises:
        TraceError: The trace is of another kind of run, or parts were left out of it.
    """
    trace = checked(spans)
    info = engine_then(trace)
    facts = deployment.home.representations.facts
    if facts is not None and facts.model_hash != info.model_hash:
        raise TraceError(
            f"the vectors of this home were made by {facts.model!r}, the trace by {info.model!r}: "
            "replay it on the home as it was"
        )
    with (
        tempfile.TemporaryDirectory(prefix="srec-replay-") as folder,
        TraceStore.open(Path(folder) / "traces.sqlite") as store,
    ):
        calls, tracer = TracedCalls(RecordedCalls(spans, info)), Tracer(store)
        context = context_then(deployment, trace, calls, tracer)
        try:
            trace_id = deployment.run(_run(trace, START, _request(trace), context, {}))
        except ModelError:
            # Told by the trace of the replay, and so by the difference.
            trace_id = store.recent(1)[0].trace_id
        return diff(trace, read_trace(store.spans(trace_id)), exact=True)


def fork(
    deployment: Deployment,
    spans: Sequence[Span],
    step: str,
    *,
    edits: Mapping[str, Any],
    replacements: Sequence[tuple[str, str]] = (),
) -> str:
    """Go on from a step of a trace with something changed; returns the id of the new trace.

    Args:
        deployment: The home, with the engine and model that go on.
        spans: Of the parent.
        step: `NODE`, or `NODE:2` for its second pass.
        edits: Fields of the state before the step, in the place of the recorded ones.
        replacements: Texts of prompts, and what stands in their place.

    Raises:
        TraceError: There is no such step or field, a text to replace is in no prompt, or parts
            were left out of the trace.
        IndexMismatch: The step searches the index, which another model made.
    """
    trace = checked(spans)
    *_, (node, before, _) = steps(trace, step)
    if unknown := sorted(set(edits) - set(FIELDS)):
        raise TraceError(f"the state has no field {unknown[0]!r}: it has {', '.join(FIELDS)}")
    if node.name not in AFTER_RETRIEVAL:
        deployment.home.representations.use(deployment.index_facts())
    calls = EditedCalls(deployment.calls, replacements)
    context = context_then(deployment, trace, calls, deployment.tracer)
    values = {name: value for name, value in {**before, **edits}.items() if name in FIELDS}
    facts: Attributes = {
        PARENT: f"{trace.run.trace_id} {step}",
        EDITS: as_json({"state": dict(edits), "replace": list(replacements)}),
    }
    trace_id = deployment.run(_run(trace, node.name, values, context, facts, deployment.info))
    if calls.unused:
        raise TraceError(
            f"{calls.unused[0]!r} is in no prompt from {step!r} on: the fork {trace_id[:12]} "
            "changed nothing there"
        )
    return trace_id


async def _run(
    trace: TraceRecord,
    start: str,
    values: Mapping[str, Any],
    context: Context,
    facts: Attributes,
    engine: EngineInfo | None = None,
) -> str:
    """Run the graph from a node on, as a traced run."""
    graph = build_graph()
    if start != START:
        graph.edges.discard((START, "load_user"))
        graph.add_edge(START, start)
    state = State(**values)
    inputs = dict(values) if start != START else trace.run.input
    with context.tracer.run(RUN, user=state.user_id, inputs=inputs, engine=engine) as run:
        run.span.set_attributes(context.tracer.redaction.attributes(facts, state.user_id))
        with tracing_context(enabled=False):
            final = await graph.compile().ainvoke(state, _CONFIG, context=context)
        run.output({"items": [entry["item_id"] for entry in final["candidates"][: state.k]]})
    return run.trace_id


class EditedCalls:
    """Passes calls on with texts of their prompts replaced."""

    def __init__(self, inner: Calls, replacements: Sequence[tuple[str, str]]) -> None:
        self._inner = inner
        self._replacements = replacements
        self._used: set[str] = set()

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._inner.info

    @property
    def unused(self) -> list[str]:
        """Texts that no prompt held so far."""
        return [old for old, _ in self._replacements if old not in self._used]

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""
        edited = [self._edited(prompt) for prompt in prompts]
        return await self._inner.generate(edited, max_tokens=max_tokens)

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """See `Engine.score_labels`."""
        return await self._inner.score_labels([self._edited(prompt) for prompt in prompts], labels)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`; texts to embed are no prompts."""
        return await self._inner.embed(texts)

    def _edited(self, prompt: Prompt) -> Prompt:
        made, used = edited(prompt, self._replacements)
        self._used |= used
        return made


def edited(prompt: Prompt, replacements: Sequence[tuple[str, str]]) -> tuple[Prompt, set[str]]:
    """A prompt with texts replaced, one after the other, and those that it held."""
    messages, used = prompt.messages, set()
    for old, new in replacements:
        if any(old in message.text for message in messages):
            used.add(old)
            messages = tuple(
                replace(message, text=message.text.replace(old, new)) for message in messages
            )
    return replace(prompt, messages=messages), used


def checked(spans: Sequence[Span]) -> TraceRecord:
    """The trace of a run that can be run again.

    Raises:
        TraceError: It is of another kind of run, or parts were left out of it.
    """
    trace = read_trace(spans)
    if trace.run.name != RUN:
        raise TraceError(f"this is a run of {trace.run.name!r}: only {RUN!r} can be run again")
    if any(REDACTED in str(value) for span in spans for value in span.attributes.values()):
        raise TraceError("parts of this trace were left out when it was written (redacted)")
    return trace


def _request(trace: TraceRecord) -> dict[str, Any]:
    """What the run was asked for, with the history as it was then."""
    asked = next((before for _, before, _ in states(trace)), {})
    values = {name: value for name, value in asked.items() if name in FIELDS}
    loaded = next((node.output for node in trace.nodes if node.name == "load_user"), None)
    if isinstance(loaded, Mapping) and loaded.get("path") != "unknown":
        values["given_history"] = loaded.get("history")
    return values


def engine_then(trace: TraceRecord) -> EngineInfo:
    """What answered in the run."""
    made_with = trace.run.provenance
    return EngineInfo(
        engine=trace.run.engine or "",
        version=str(made_with.get("srec.engine.version", "")),
        model=trace.run.model or "",
        model_hash=str(made_with.get("srec.model.hash", "")),
        dtype=str(made_with.get("srec.dtype", "")),
    )


def context_then(
    deployment: Deployment, trace: TraceRecord, calls: Calls, tracer: Tracer
) -> Context:
    """What the nodes depend on, with settings and weights as they were."""
    then = trace.run.provenance.get("srec.settings")
    then = then if isinstance(then, Mapping) else {}
    weights = (
        CombineWeights.model_validate(then["weights"])
        if "weights" in then
        else deployment.weights()
    )
    settings = Settings(**then["chain"]) if "chain" in then else deployment.settings
    return deployment.context_of(calls, tracer, settings=settings, weights=weights)
