"""load_user: the history up to a point in time, and the path that it opens."""

from collections.abc import Sequence

from langgraph.runtime import Runtime

from mllm_srec.agent.state import Context, Event, Path, Settings, State, Update, Verdict
from mllm_srec.store.records import Interaction
from mllm_srec.tools.likes import is_like

COLD_BELOW = 4
"""Interactions below which a user counts as cold (method.md: 1 to 3 training interactions)."""


async def load_user(state: State, runtime: Runtime[Context]) -> Update:
    """Load a stored history, or take the one that the caller gave."""
    context = runtime.context
    if state.given_history is not None:
        return {"history": state.given_history, "path": _path(state.given_history)}
    stored = context.home.catalogue.history(state.user_id)
    if not stored:
        return {"history": [], "path": "unknown"}
    history = events(stored, context.settings)
    if state.as_of is not None:
        history = [event for event in history if event["position"] < state.as_of]
    return {"history": history, "path": _path(history)}


def events(interactions: Sequence[Interaction], settings: Settings) -> list[Event]:
    """Interactions as the chain sees them, in time order."""
    return [
        Event(
            item_id=interaction.item_id,
            verdict=verdict(interaction.rating, settings),
            position=interaction.position,
            rating=interaction.rating,
            timestamp=interaction.timestamp,
        )
        for interaction in interactions
    ]


def verdict(rating: float | None, settings: Settings) -> Verdict:
    """What a rating says; without ratings every interaction is a liked one."""
    if rating is not None and rating <= settings.disliked_rating:
        return "disliked"
    return "liked" if is_like(rating, settings.liked_rating) else "neutral"


def _path(history: Sequence[Event]) -> Path:
    if not history:
        return "empty"
    return "cold" if len(history) < COLD_BELOW else "warm"
