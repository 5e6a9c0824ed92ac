"""The edges of the recommendation graph that depend on the state."""

from typing import Literal

from langgraph.runtime import Runtime

from mllm_srec.agent.nodes.summarize_preferences import windows
from mllm_srec.agent.state import Context, State


def after_load_user(state: State) -> Literal["fuse_items", "retrieve_candidates"]:
    """Without a history there is nothing to understand: go on with what others choose."""
    return "fuse_items" if state.history else "retrieve_candidates"


def after_summarize_preferences(
    state: State, runtime: Runtime[Context]
) -> Literal["summarize_preferences", "profile_user"]:
    """Come back until the last window is done."""
    spans = windows(len(state.history), runtime.context.settings)
    return "summarize_preferences" if len(state.windows) < len(spans) else "profile_user"
