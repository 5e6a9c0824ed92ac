"""Running a recorded recommendation again: from its recorded answers, or on from one of its steps.

Neither touches the old trace. A replay asks no model and keeps nothing; a fork is a new run with a
trace of its own that names its parent.
"""

import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START
from langsmith import tracing_context

from mllm_srec.agent.chain import allowed
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.graph import build_graph
from mllm_srec.agent.inspection.diff import TraceDiff, diff
from mllm_srec.agent.inspection.edits import EditedCalls, check_edits
from mllm_srec.agent.inspection.lists import RUN, has_list, recommendation_of
from mllm_srec.agent.inspection.made_with import (
    context_then,
    edits_of,
    engine_then,
    made_again,
    require_whole,
)
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.inspection.state import initial, steps
from mllm_srec.agent.inspection.turns import STEPS, fork_turn, is_turn, replay_turn
from mllm_srec.agent.state import YOUR_PICTURE, Context, State
from mllm_srec.agent.tracing.attributes import EDITS, PARENT, Attributes, as_json
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.tools.filters import ItemFilter

RETRIEVAL = "retrieve_candidates"
BEFORE_RETRIEVAL = ("summarize_preferences", "profile_user")
"""Steps between the descriptions and the index: another model may take them where the candidates
stay, or the run ends before they are looked for."""
AFTER_RETRIEVAL = ("score_targets", "explain")
"""Steps that look nothing up in the index, so that another model may take them."""
FIELDS = tuple(field.name for field in fields(State))
"""Names of the state's fields; what a trace holds beside them is of the request."""
_CONFIG: RunnableConfig = {"recursion_limit": 10_000}


def replay(deployment: Deployment, spans: Sequence[Span]) -> TraceDiff:
    """Run a trace again from its recorded answers, and compare bit for bit.

    Of a turn that is what it understood, the list in it, if there is one, and its answer.

    Args:
        deployment: The home that it ran on; its engine is neither asked nor loaded.
        spans: Of the trace.

    Raises:
        TraceError: In the run of a tool no list was made, or parts of a run were left out or are
            lost.
        CannotDo: No item of the shop meets the conditions of the run any more.
    """
    if not is_turn(spans):
        return _replay_list(deployment, spans)
    talk = replay_turn(deployment, spans)
    if not has_list(spans):
        return talk
    listed = _replay_list(deployment, spans)
    return replace(listed, changes=(*talk.changes, *listed.changes))


def _replay_list(deployment: Deployment, spans: Sequence[Span]) -> TraceDiff:
    """The list of a run, from its recorded answers."""
    trace = checked(spans)
    info = engine_then(trace)
    start, values, facts = _beginning(trace)
    index = deployment.home.representations.facts
    kept = RETRIEVAL in edits_of(trace).get("kept", ())
    searches = not (kept or _apart_from_index(trace, start))
    if searches and index is not None and index.model_hash != info.model_hash:
        raise TraceError(
            f"the vectors of this home were made by {index.model!r}, the trace by {info.model!r}: "
            "replay it on the home as it was"
        )
    state, before = _state(deployment, values), values.get("before")

    def run(context: Context) -> Coroutine[Any, Any, str]:
        inputs = trace.run.input
        return _run(start, state, inputs, context, facts, retrieves=not kept, before=before)

    again = made_again(deployment, trace, spans, run)
    return diff(_undescribed(trace), _undescribed(again), exact=True)


def fork(
    deployment: Deployment,
    spans: Sequence[Span],
    step: str,
    *,
    edits: Mapping[str, Any],
    replacements: Sequence[tuple[str, str]] = (),
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Go on from a step of a trace with something changed; returns the id of the new trace.

    Another model than that of the index reads its descriptions, and cannot search it: where
    retrieval lies ahead, the candidates of the parent stay. A run that ended at the profile looks
    for none.

    Args:
        deployment: The home, with the engine and model that go on.
        spans: Of the parent.
        step: `NODE`, or `NODE:2` for its second pass. The steps of a turn itself change nothing
            that is kept of the user: see `fork_turn`.
        edits: Fields of the state before the step, in the place of the recorded ones.
        replacements: Texts of prompts, and what stands in their place.
        say: Told what a person should know, such as what another model takes over.

    Raises:
        TraceError: There is no such step or field, a field takes no such value, a text to replace
            is in no prompt, no list was made in the run, or parts of it were left out or are lost;
            or the step reads or searches what another model made.
        IndexMismatch: The index was made with other prompts, or cannot be read.
        CannotDo: No item of the shop meets the conditions of the run any more.
    """
    if is_turn(spans):
        steps(read_trace(spans), step)  # Names the turn's own, too, where there is none.
    if is_turn(spans) and step in STEPS:
        return fork_turn(deployment, spans, step, edits=edits, replacements=replacements, say=say)
    trace = checked(spans)
    *_, (node, before, _) = steps(trace, step)
    check_edits(edits, State, deployment.home.pictures)
    kept = _kept(deployment, trace, node.name, say)
    if kept is None and not _apart_from_index(trace, node.name):
        deployment.home.representations.use(deployment.index_facts())
    calls = EditedCalls(deployment.calls, replacements)
    context = context_then(deployment, trace, calls, deployment.tracer)
    values = {**before, **(kept or {}), **edits}
    changed = {"state": dict(edits), "replace": list(replacements)}
    facts: Attributes = {
        PARENT: f"{trace.run.trace_id} {step}",
        EDITS: as_json(changed if kept is None else {**changed, "kept": [RETRIEVAL]}),
    }
    state = _state(deployment, values)
    work = _run(
        node.name,
        state,
        values,
        context,
        facts,
        retrieves=kept is None,
        before=before.get("before"),
    )
    trace_id = deployment.run(work)
    if calls.unused:
        raise TraceError(
            f"{calls.unused[0]!r} is in no prompt from {step!r} on: the fork {trace_id[:12]} "
            "changed nothing there"
        )
    return trace_id


def _apart_from_index(trace: TraceRecord, start: str) -> bool:
    """Whether a run from this step on neither makes a description nor looks anything up."""
    profile_alone = initial(trace).get("before") == RETRIEVAL and start in BEFORE_RETRIEVAL
    return profile_alone or start in AFTER_RETRIEVAL


def _kept(
    deployment: Deployment, trace: TraceRecord, start: str, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """What retrieval found in the run, where a model goes on that cannot search the index.

    Raises:
        TraceError: Nothing was found yet, or the step makes or reads what only one model may.
    """
    index, model = deployment.home.representations.facts, deployment.info
    if index is None or index.model_hash == model.model_hash:
        return None
    if _apart_from_index(trace, start):
        say(f"{model.model!r} goes on with the descriptions that {index.model!r} made")
        return None
    found = [each.output for each in trace.nodes if each.name == RETRIEVAL and each.status == "OK"]
    if start not in BEFORE_RETRIEVAL or not (found or "candidates" in initial(trace)):
        raise TraceError(
            f"{start!r} needs descriptions or vectors as {model.model!r} makes them, and those of "
            f"this home are by {index.model!r}: name that with --model, or fork a run that has "
            f"candidates from {BEFORE_RETRIEVAL[0]!r} on"
        )
    say(
        f"{model.model!r} goes on with the descriptions that {index.model!r} made, and with the "
        "candidates that were found: it cannot search the vectors"
    )
    return dict(found[-1]) if found else {}


async def _run(
    start: str,
    state: State,
    inputs: object,
    context: Context,
    facts: Attributes,
    *,
    retrieves: bool,
    before: str | None,
) -> str:
    """Run the graph from a node on, to its end or up to a node, as a traced run.

    Without retrieval its candidates are given.
    """
    graph = build_graph()
    if not retrieves:
        graph.edges.discard(("profile_user", RETRIEVAL))
        graph.add_edge("profile_user", "score_targets")
    if start != START:
        graph.edges.discard((START, "load_user"))
        graph.add_edge(START, start)
    with context.run(RUN, user=state.user_id, inputs=inputs) as run:
        run.span.set_attributes(context.tracer.redaction.attributes(facts, state.user_id))
        with tracing_context(enabled=False):
            ends = None if before is None else [before]
            final = await graph.compile().ainvoke(
                state, _CONFIG, context=context, interrupt_before=ends
            )
        run.output({"items": [entry["item_id"] for entry in final["candidates"][: state.k]]})
    return run.trace_id


def _undescribed(trace: TraceRecord) -> TraceRecord:
    """The trace without the calls that described items: what is described is not asked again.

    How an item was described stands in the prompts of the later steps.
    """
    nodes = (replace(each, calls=()) if each.name == "fuse_items" else each for each in trace.nodes)
    return replace(trace, nodes=tuple(nodes))


def checked(spans: Sequence[Span]) -> TraceRecord:
    """The recommendation of a trace, if it can be made again.

    Raises:
        TraceError: None was made in the run, or parts of it were left out or are lost.
    """
    spans = recommendation_of(spans)
    trace = read_trace(spans)
    if trace.run.name != RUN:
        raise TraceError("the run itself is lost: only some of its spans were written")
    require_whole(spans)
    return trace


def _beginning(trace: TraceRecord) -> tuple[str, dict[str, Any], Attributes]:
    """Where the run began and with which values, the history as it was; and whose fork it is."""
    values = initial(trace)
    loaded = next((node.output for node in trace.nodes if node.name == "load_user"), None)
    if isinstance(loaded, Mapping) and loaded.get("path") != "unknown":
        values["given_history"] = loaded.get("history")
    if trace.run.parent is None or not trace.nodes:
        return START, values, {}
    return trace.nodes[0].name, values, {PARENT: trace.run.parent}


def _state(deployment: Deployment, values: Mapping[str, Any]) -> State:
    """The state of recorded values, with the items that were allowed by what the request said.

    Raises:
        TraceError: The values name an item that is not in the catalogue.
        CannotDo: No item of the shop meets the conditions any more.
    """
    given = {name: value for name, value in values.items() if name in FIELDS}
    named = (given.get(name) or () for name in ("given_history", "history", "candidates"))
    ids = {entry["item_id"] for entry in itertools.chain(*named)}
    if given.get("picture"):
        ids.discard(YOUR_PICTURE)
    if gone := ids - set(deployment.home.catalogue.items(sorted(ids))):
        raise TraceError(
            f"the run works with {min(gone)!r}, which is not in the catalogue: run it on a home "
            "that has the item"
        )
    if "allowed" not in given:
        conditions = ItemFilter.model_validate(values.get("filter", {}))
        given["allowed"] = allowed(deployment.home, conditions, values.get("only"))
    return State(**given)
