"""What a recorded run was made with, whether all of it is there, and making it again with that."""

import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.inspection.edits import EditedCalls
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.inspection.recorded_calls import RecordedCalls
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.state import Context, Settings
from mllm_srec.agent.tracing.attributes import IMAGE_URL, REDACTED
from mllm_srec.agent.tracing.calls import TracedCalls
from mllm_srec.agent.tracing.tracer import Tracer
from mllm_srec.llm.engine import EngineInfo, ModelError
from mllm_srec.llm.pictures import PictureBudget
from mllm_srec.store.spans import Span, is_lost
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.ranking import CombineWeights


def require_whole(spans: Sequence[Span]) -> None:
    """Refuse a run of which something is missing.

    Raises:
        TraceError: Parts of it were left out, or are lost.
    """
    # Pictures are told apart by the keys of their pixels: nobody asks for their bytes.
    values = [
        value
        for span in spans
        for name, value in span.attributes.items()
        if not name.endswith(IMAGE_URL)
    ]
    if REDACTED in values:
        raise TraceError("parts of this trace were left out (redacted)")
    if any(map(is_lost, values)):
        raise TraceError("parts of this trace are lost: their bytes are no longer in the file")


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
    """What the nodes depend on: settings and weights as they were, pictures as their model's."""
    then = trace.run.provenance.get("srec.settings")
    then = then if isinstance(then, Mapping) else {}
    weights = (
        CombineWeights.model_validate(then["weights"])
        if "weights" in then
        else deployment.weights()
    )
    settings = Settings(**then["chain"]) if "chain" in then else deployment.settings
    same_model = calls.info.model_hash == engine_then(trace).model_hash
    pictures = then.get("pictures") if same_model else None
    return deployment.context_of(
        calls,
        tracer,
        settings=settings,
        weights=weights,
        budget=None if pictures is None else PictureBudget(**pictures),
    )


def edits_of(trace: TraceRecord) -> Mapping[str, Any]:
    """What a fork changed; nothing for other runs."""
    return trace.run.edits if isinstance(trace.run.edits, Mapping) else {}


def made_again(
    deployment: Deployment,
    trace: TraceRecord,
    spans: Sequence[Span],
    run: Callable[[Context], Coroutine[Any, Any, str]],
) -> TraceRecord:
    """What comes of a run on recorded answers; no engine is asked, and nothing is kept.

    Args:
        deployment: The home that it ran on.
        trace: The run.
        spans: That hold the answers.
        run: What is run with them, and gives the id of its trace. Where an answer is missing, its
            trace tells so.
    """
    with (
        tempfile.TemporaryDirectory(prefix="srec-replay-") as folder,
        TraceStore.open(Path(folder, "replay.sqlite")) as store,
    ):
        recorded = TracedCalls(RecordedCalls(spans, engine_then(trace)))
        replaced = [(old, new) for old, new in edits_of(trace).get("replace", ())]
        calls = EditedCalls(recorded, replaced)
        context = context_then(deployment, trace, calls, Tracer(store))
        try:
            trace_id = deployment.run(run(context))
        except ModelError:
            # Told by the trace of the replay, and so by the difference.
            trace_id = store.recent(1)[0].trace_id
        return read_trace(store.spans(trace_id))
