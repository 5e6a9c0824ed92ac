"""retrieve_candidates: from the whole catalogue to the items worth scoring."""

from langgraph.runtime import Runtime

from mllm_srec.agent.nodes.score_targets import last_preference
from mllm_srec.agent.state import Context, State, Update, scored
from mllm_srec.store.records import Interaction
from mllm_srec.tools.feedback import wanted_words
from mllm_srec.tools.retrieval import Query, Retriever


async def retrieve_candidates(state: State, runtime: Runtime[Context]) -> Update:
    """Gather candidates by what others took next, by values, by taste, by likeness, and by fame."""
    context = runtime.context
    preference = None
    if taste := _taste(state):
        [preference] = await context.calls.embed([taste])
    retriever = Retriever(
        context.collaborative,
        context.facets,
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
            preference=preference,
            allowed=None if state.allowed is None else frozenset(state.allowed),
        ),
        count=context.settings.candidates,
    )
    return {"candidates": [scored(candidate, None, None, 0.0) for candidate in found]}


def _taste(state: State) -> str:
    """What to look near to: the preference and what more is wanted of; empty for neither."""
    preference = last_preference(state).text if state.history else ""
    return "; ".join(filter(None, (preference, wanted_words(state.wishes))))
