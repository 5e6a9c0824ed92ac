"""A recorded turn run again: from its recorded answers, or on from one of its own steps.

Neither the thread nor what is kept of the user changes: a fork ends before an action that would.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from langgraph.graph import START
from langsmith import tracing_context
from openinference.semconv.trace import SpanAttributes as Names
from pydantic import ValidationError

from mllm_srec.agent.conversation.graph import NODES, build_conversation
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.state import TurnContext, TurnState
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.inspection.diff import TraceDiff, diff
from mllm_srec.agent.inspection.edits import EditedCalls, check_edits
from mllm_srec.agent.inspection.made_with import context_then, made_again, require_whole
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.inspection.state import states, steps
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.state import Context
from mllm_srec.agent.tracing.attributes import EDITS, PARENT, Attributes, as_json
from mllm_srec.agent.tracing.masking import SECRET
from mllm_srec.store.errors import IndexMismatch
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_settings import is_pseudonym, names_of
from mllm_srec.store.traces import TraceStore
from mllm_srec.store.validation import problems

TURN = "turn"
"""Name of the runs of the conversation graph."""
UNDERSTAND, ACT, ANSWER = STEPS = tuple(node.__name__ for node in NODES)
FIELDS = tuple(field.name for field in fields(TurnState))
_BEGINS_WITH = {
    UNDERSTAND: ("command", "shown"),
    ACT: ("picture", "understood", "shown"),
    ANSWER: ("understood", "outcome", "shown"),
}
"""Fields of the state without which a step would do something else."""
_UNDERSTOOD = ("command", "understood", "last", "asked")
"""Fields of the state that hold what was understood, as plain data."""


def is_turn(spans: Sequence[Span]) -> bool:
    """Whether a trace is one of a turn."""
    return any(span.parent_id is None and span.name == TURN for span in spans)


def replay_turn(deployment: Deployment, spans: Sequence[Span]) -> TraceDiff:
    """Understand a turn again from its recorded answers, and write its answer again.

    What was done in between stands in the trace: a search or a wish is not made again.

    Args:
        deployment: The home that it ran on; its engine is neither asked nor loaded.
        spans: Of the trace.

    Raises:
        TraceError: Parts of the trace, or a secret in the message, were left out or are lost, or
            the turn broke off before anything in it was done.
    """
    require_whole(spans)
    trace = read_trace(spans)
    again = [
        (node, before)
        for node, before, _ in states(trace)
        if node.name in (UNDERSTAND, ANSWER) and node.status == "OK"
    ]
    if not again:
        raise TraceError("the turn broke off before anything in it was understood or answered")
    if any(node.calls and SECRET in before.get("said", "") for node, before in again):
        # What the model may copy from a message is a part of the question.
        raise TraceError(
            f"what looked like a secret in the message was left out of the trace ({SECRET}): what "
            "was understood of it cannot be made again"
        )

    async def run(context: Context) -> str:
        srec = Recommender(deployment, context)
        with context.run(TURN, user=trace.run.user, inputs=trace.run.input) as run:
            for node, before in again:
                end = ACT if node.name == UNDERSTAND else None
                await _pass(srec, node.name, _state(spans, node.name, before), end)
        return run.trace_id

    # What broke the turn off is not made again.
    told = replace(trace, run=replace(trace.run, error=""), nodes=tuple(node for node, _ in again))
    return diff(told, made_again(deployment, trace, spans, run), exact=True)


def fork_turn(
    deployment: Deployment,
    spans: Sequence[Span],
    step: str,
    *,
    edits: Mapping[str, Any],
    replacements: Sequence[tuple[str, str]],
    say: Callable[[str], None],
) -> str:
    """Go on from a step of a turn with something changed; returns the id of the new trace.

    The run ends before `act` where that would change what is kept of the user, or needs what this
    trace or this model does not have; `say` is told why.

    Args:
        deployment: The home, with the engine and model that go on.
        spans: Of the parent.
        step: `understand`, `act` or `answer`.
        edits: Fields of the state before the step, in the place of the recorded ones.
        replacements: Texts of prompts, and what stands in their place.
        say: Told what a person should know.

    Raises:
        TraceError: There is no such step or field, a field takes no such value, a text to replace
            is in no prompt, parts of the trace were left out or are lost; or the fork begins at
            `act`, which cannot be done again.
    """
    require_whole(spans)
    trace = read_trace(spans)
    *_, (_, before, _) = steps(trace, step)
    check_edits(edits, TurnState, deployment.home.pictures)
    values = {**before, **edits}
    state = _state(spans, step, values)
    if not _is_of(deployment, trace.run.user or "", state.user_id):
        # What the user said stands in the fork: it must go when they are deleted.
        raise TraceError(f"the field 'user_id': the turn was not one of {state.user_id!r}")
    if step == UNDERSTAND and "said" in edits and state.command is not None:
        raise TraceError(
            "the field 'said': the turn was a command, and is not read; set 'command' to null, too"
        )
    calls = EditedCalls(deployment.calls, replacements)
    srec = Recommender(deployment, context_then(deployment, trace, calls, deployment.tracer))
    # Here, and not in the run: whoever asks what the index must be waits for the graph's loop.
    unsearchable = None if step == ANSWER else _unsearchable(deployment)
    if step == ACT and (why := _held(state, unsearchable)):
        raise TraceError(f"a fork cannot begin at {ACT!r} here: {why}")
    facts: Attributes = {
        PARENT: f"{trace.run.trace_id} {step}",
        EDITS: as_json({"state": dict(edits), "replace": list(replacements)}),
    }
    given = {name: value for name, value in values.items() if name in FIELDS}

    async def run() -> str:
        with srec.context.run(
            TURN, user=state.user_id, session=state.thread_id or None, inputs=given
        ) as run:
            run.span.set_attributes(srec.context.tracer.redaction.attributes(facts, state.user_id))
            now, start = state, step
            if start == UNDERSTAND:
                now, start = await _pass(srec, UNDERSTAND, now, ACT), ACT
            if start == ACT and (why := _held(now, unsearchable)):
                say(f"the fork ends before {ACT!r}: {why}")
            else:
                now = await _pass(srec, start, now, None)
            run.output(now.told)
        return run.trace_id

    trace_id = deployment.run(run())
    if calls.unused:
        raise TraceError(
            f"{calls.unused[0]!r} is in no prompt from {step!r} on: the fork {trace_id[:12]} "
            "changed nothing there"
        )
    return trace_id


def _is_of(deployment: Deployment, owner: str, user_id: str) -> bool:
    """Whether a turn with this owner, maybe a pseudonym, is a user's."""
    if owner == user_id:
        return True
    with TraceStore.open(deployment.home.traces_file) as store:
        return owner in names_of(store, user_id)


def _unsearchable(deployment: Deployment) -> str | None:
    """Why the model cannot search the vectors of the home; None where it can."""
    index, model = deployment.home.representations.facts, deployment.info
    if index is not None and index.model_hash != model.model_hash:
        return f"{model.model!r} cannot search the vectors, which {index.model!r} made"
    try:
        deployment.home.representations.use(deployment.index_facts())
    except IndexMismatch as error:
        return str(error)
    return None


def _held(state: TurnState, unsearchable: str | None) -> str | None:
    """Why the action of a turn cannot be done in a fork; None where it can."""
    understood = _understood("understood", state.understood)
    if understood.writes:
        return (
            f"{understood.intent!r} may change what is kept of {state.user_id!r}; "
            "`/fork` in a chat goes on with it"
        )
    if is_pseudonym(state.user_id):
        return (
            "whose turn it was was left out when the trace was written (redacted): name them with "
            "--state, as 'user_id'"
        )
    return unsearchable


def _understood(field: str, value: object) -> Understood:
    try:
        return Understood.model_validate(value)
    except ValidationError as error:
        wrong = problems(error)[0]
        raise TraceError(f"the field '{field}.{wrong.place}': {wrong.what}") from error


def _state(spans: Sequence[Span], step: str, values: Mapping[str, Any]) -> TurnState:
    """The state before a step of recorded values; whose conversation it was stands in the root.

    Raises:
        TraceError: A value is missing that the step begins with, or is no understood turn.
    """
    root = next(span for span in spans if span.parent_id is None)
    found: dict[str, Any] = {
        "user_id": root.attributes.get(Names.USER_ID, ""),
        "thread_id": root.attributes.get(Names.SESSION_ID, ""),
        **{name: value for name, value in values.items() if name in FIELDS},
    }
    if lacking := [name for name in _BEGINS_WITH[step] if name not in found]:
        raise TraceError(
            f"what {step!r} began with was not kept ({lacking[0]!r}): the turn was taken up where "
            "it had broken off, or an older version made the trace. Ask once more, and take the "
            "new trace"
        )
    state = TurnState(**found)
    for name in _UNDERSTOOD:
        value = getattr(state, name)
        if value is not None and (name, step) != ("understood", UNDERSTAND):
            _understood(name, value)
    return state


async def _pass(srec: Recommender, start: str, state: TurnState, end: str | None) -> TurnState:
    """Run the graph of a turn from a node on, to its end or up to a node."""
    graph = build_conversation()
    if start != UNDERSTAND:
        graph.edges.discard((START, UNDERSTAND))
        graph.add_edge(START, start)
    with tracing_context(enabled=False):
        values = await graph.compile().ainvoke(
            state,
            context=TurnContext(srec),
            interrupt_before=None if end is None else [end],
        )
    return TurnState(**{name: value for name, value in values.items() if name in FIELDS})
