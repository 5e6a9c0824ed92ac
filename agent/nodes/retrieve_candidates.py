"""retrieve_candidates: from the whole catalogue to the items worth scoring."""

from langgraph.runtime import Runtime

from mllm_srec.agent.nodes.fuse_items import pictured
from mllm_srec.agent.nodes.score_targets import last_preference
from mllm_srec.agent.state import Context, State, Update, scored
from mllm_srec.agent.tracing.retrieval import record_retrieval
from mllm_srec.agent.tracing.tracer import current_step
from mllm_srec.store.records import Interaction
from mllm_srec.tools.feedback import ruled_out_by, wanted_words
from mllm_srec.tools.retrieval import Query, Retrieval, Retriever


async def retrieve_candidates(state: State, runtime: Runtime[Context]) -> Update:
    """Gather candidates by what others took next, by values, by taste, by likeness, and by fame."""
    context = runtime.context
    taste, own = _taste(state), pictured(state)
    texts = [*filter(None, [taste]), *(fused.line for fused in own.values())]
    vectors = dict(zip(texts, await context.calls.embed(texts), strict=True)) if texts else {}
    retriever = Retriever(
        context.collaborative(),
        context.facets(),
        context.home.representations,
        context.weights.retrieval,
        min_rating=context.settings.liked_rating,
    )
    history = [
        Interaction(
            user_id=state.user_id,
            item_id=event["item_id"],
            position=event["position"],
            rating=event["rating"],
            timestamp=event["timestamp"],
        )
        for event in state.history
    ]
    found = retriever.retrieve(
        Query(
            history=history,
            preference=vectors.get(taste),
            strangers={name: (fused, vectors[fused.line]) for name, fused in own.items()},
            allowed=None if state.allowed is None else frozenset(state.allowed),
        ),
        count=max(context.settings.candidates, state.k),
    )
    # Another process may have deleted an item since this home was opened.
    ids = [each.item_id for each in found.candidates]
    known = context.home.catalogue.representations(ids)
    if step := current_step():
        gone = [item_id for item_id in ids if item_id not in known]
        record_retrieval(step, found, wishes=_ruled_out(state, context, found), gone=gone)
    return {
        "candidates": [
            scored(each, None, None, 0.0) for each in found.candidates if each.item_id in known
        ],
        "notes": [*_left_out(state, context), *_none_left(state), *_empty(state, context, found)],
    }


def _ruled_out(state: State, context: Context, found: Retrieval) -> dict[str, str]:
    """The wish that ruled out each dropped item, as far as it was one."""
    left = [each.item_id for each in found.dropped if each.reason == "not allowed"]
    if not left or state.as_of is not None or state.given_history is not None:
        return {}  # A past or a given history has no wishes.
    said = context.home.feedback.of(state.user_id)
    return ruled_out_by(context.home, said, left)


def _left_out(state: State, context: Context) -> list[str]:
    """A note on items that cannot be scored, since an ingest broke off or still runs."""
    catalogue, described = context.home.catalogue, context.facets().rows
    if state.allowed is None:
        asked = len(context.collaborative().item_ids)
        if asked == len(described):
            return []
        missing = (asked := catalogue.item_count()) - catalogue.representation_count()
    else:
        asked = len(state.allowed)
        late = [item_id for item_id in state.allowed if item_id not in described]
        missing = len(late) - len(catalogue.representations(late))
    if not missing:
        return []
    verbs = ("has", "was") if missing == 1 else ("have", "were")
    return [
        f"{missing:,} of {asked:,} items {verbs[0]} no description yet and {verbs[1]} left out: "
        "run `srec ingest` again."
    ]


def _none_left(state: State) -> list[str]:
    """A note where nothing may be recommended."""
    if state.allowed != []:
        return []
    return [
        "Of the candidates none is left that meets the conditions: name others, or ask for less."
    ]


def _empty(state: State, context: Context, found: Retrieval) -> list[str]:
    """A note where the shop has no items, or the user all that may be recommended."""
    if found.candidates or state.allowed == []:
        return []
    there = context.collaborative().item_ids if state.allowed is None else state.allowed
    if not there:
        return ["The shop has no items: `srec ingest` takes some in."]
    if not {event["item_id"] for event in state.history}.issuperset(there):
        return []
    return [f"All that fits stands in the history of {state.user_id!r} already."]


def _taste(state: State) -> str:
    """What to look near to: the preference and what more is wanted of; empty for neither."""
    preference = last_preference(state).text if state.history else ""
    return "; ".join(filter(None, (preference, wanted_words(state.wishes))))
