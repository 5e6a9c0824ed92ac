"""The recommendation graph: the chain of MLLM-SRec as explicit nodes."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy

from mllm_srec.agent.nodes.explain import explain
from mllm_srec.agent.nodes.fuse_items import fuse_items
from mllm_srec.agent.nodes.load_user import load_user
from mllm_srec.agent.nodes.profile_user import profile_user
from mllm_srec.agent.nodes.retrieve_candidates import retrieve_candidates
from mllm_srec.agent.nodes.score_targets import score_targets
from mllm_srec.agent.nodes.summarize_preferences import summarize_preferences
from mllm_srec.agent.routing import after_load_user, after_summarize_preferences
from mllm_srec.agent.state import Context, State, Update
from mllm_srec.llm.engine import EngineLost

ENGINE_RETRY = RetryPolicy(initial_interval=0.5, max_attempts=3, retry_on=EngineLost)
"""A lost engine gets two more tries; answers it has given are cached, so only the rest is asked."""


class Node(Protocol):
    """A node: typed state and an injected context in, what it adds out."""

    __name__: str

    async def __call__(self, state: State, runtime: Runtime[Context]) -> Update:
        """Read the state, add to it."""
        ...


NODES: tuple[Node, ...] = (
    load_user,
    fuse_items,
    summarize_preferences,
    profile_user,
    retrieve_candidates,
    score_targets,
    explain,
)


Place = Callable[[Any], Any]
"""Puts a node, or what chooses the next one, where it runs."""


def here(work: Any) -> Any:
    """Run it where the graph runs."""
    return work


def build_graph(place: Place = here) -> StateGraph[State, Context, State, State]:
    """Wire the nodes; the caller compiles, with or without a checkpointer."""
    graph = StateGraph(State, context_schema=Context)
    for node in NODES:
        graph.add_node(node.__name__, place(_traced(node)), retry_policy=ENGINE_RETRY)

    graph.add_edge(START, "load_user")
    graph.add_conditional_edges("load_user", after_load_user)
    graph.add_edge("fuse_items", "summarize_preferences")
    graph.add_conditional_edges("summarize_preferences", place(after_summarize_preferences))
    graph.add_edge("profile_user", "retrieve_candidates")
    graph.add_edge("retrieve_candidates", "score_targets")
    graph.add_edge("score_targets", "explain")
    graph.add_edge("explain", END)
    return graph


def _traced(node: Node) -> Node:
    """Record each pass of a node as a span: what it read of the state, and what it made."""

    @functools.wraps(node)
    async def run(state: State, runtime: Runtime[Context]) -> Update:
        inputs = {"user_id": state.user_id, "path": state.path, "windows": len(state.windows)}
        with runtime.context.tracer.node(node.__name__, inputs=inputs) as step:
            update = await node(state, runtime)
            step.output(update)
            return update

    return run
