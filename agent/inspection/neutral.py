"""What the model says of a run's candidates to a user of whom it knows nothing.

The prompts of the run are made once more without history, preference and profile, as for a user
who is not in the log. The difference to the recorded margin is what the user's taste moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.inspection.made_with import context_then, engine_then
from mllm_srec.agent.inspection.prompts import prompt_text
from mllm_srec.agent.inspection.records import NodeRecord, TraceRecord
from mllm_srec.agent.inspection.replay import FIELDS, checked
from mllm_srec.agent.inspection.state import steps
from mllm_srec.agent.inspection.tables import Section
from mllm_srec.agent.nodes.fuse_items import described
from mllm_srec.agent.nodes.score_targets import NO, YES, prompts
from mllm_srec.agent.state import State
from mllm_srec.llm.engine import EngineInfo, Prompt
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_schema import TraceError

SCORING = "score_targets"


def neutral_section(deployment: Deployment, spans: Sequence[Span]) -> Section:
    """Ask the model about the candidates of a trace again, as for an unknown user.

    Candidates whose description has changed since are not asked about: their scores would not
    compare.

    Args:
        deployment: The home of the trace, with the model that scored it.
        spans: Of the trace.

    Raises:
        TraceError: Nothing was scored, another model scored, or parts of the trace
            were left out or are lost.
    """
    trace = checked(spans)
    then, now = engine_then(trace), deployment.info
    if then.model_hash != now.model_hash:
        raise TraceError(
            f"the run was scored by {then.model!r} ({then.model_hash[:12]}), and {now.model!r} "
            f"({now.model_hash[:12]}) is loaded: give the model of the run with --model"
        )
    [*_, (node, before, after)] = steps(trace, SCORING)
    state = State(**{name: value for name, value in before.items() if name in FIELDS})
    asked = _prompts(deployment, trace, node, state)
    answers = deployment.run(deployment.calls.score_labels(list(asked.values()), (YES, NO)))
    neutral = {
        item_id: answer.logprobs[YES] - answer.logprobs[NO]
        for item_id, answer in zip(asked, answers, strict=True)
    }
    recorded = {entry["item_id"]: entry["logit"] for entry in after["candidates"]}
    return _section(recorded, neutral, now)


def _prompts(
    deployment: Deployment, trace: TraceRecord, node: NodeRecord, state: State
) -> dict[str, Prompt]:
    """The neutral prompt of each candidate whose own prompt is still the recorded one."""
    context = context_then(deployment, trace, deployment.calls, deployment.tracer)
    ids = [candidate["item_id"] for candidate in state.candidates]
    fused = described(context.home.catalogue, ids, without=context.settings.without)
    items = {item_id: fused[item_id] for item_id in ids if item_id in fused}
    unknown = replace(state, history=[], windows=[], profile=[])
    recorded = {call.prompt for call in node.calls}
    pairs = zip(prompts(state, context, items), prompts(unknown, context, items), strict=True)
    return {
        item_id: neutral
        for item_id, (own, neutral) in zip(items, pairs, strict=True)
        if prompt_text(own.messages) in recorded
    }


def _section(
    recorded: Mapping[str, float], neutral: Mapping[str, float], engine: EngineInfo
) -> Section:
    def row(rank: int, item_id: str, margin: float) -> tuple[str, ...]:
        if item_id not in neutral:
            return str(rank), item_id, f"{margin:+.3f}", "changed since", "-"
        moved = margin - neutral[item_id]
        return str(rank), item_id, f"{margin:+.3f}", f"{neutral[item_id]:+.3f}", f"{moved:+.3f}"

    return Section(
        title="Against a user of whom nothing is known",
        columns=("rank", "item", "margin", "neutral", "moved by the user"),
        rows=tuple(
            row(rank, item_id, margin) for rank, (item_id, margin) in enumerate(recorded.items(), 1)
        ),
        note=f"nats; neutral margins by {engine.engine} {engine.version}, asked for this view",
    )
