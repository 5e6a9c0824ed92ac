"""The conversation graph: understand a turn, act on it, answer it."""

import functools
from typing import Protocol

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from mllm_srec.agent.conversation.nodes import act, answer, understand
from mllm_srec.agent.conversation.state import TurnContext, TurnState, TurnUpdate
from mllm_srec.agent.graph import ENGINE_RETRY, Place, here
from mllm_srec.agent.tracing.tracer import current_step
from mllm_srec.llm.prompting import prompt_hash


class Node(Protocol):
    """A node of a turn."""

    __name__: str

    async def __call__(self, state: TurnState, runtime: Runtime[TurnContext]) -> TurnUpdate:
        """Read the state, add to it."""
        ...


NODES: tuple[Node, ...] = (understand, act, answer)


def build_conversation(
    place: Place = here,
) -> StateGraph[TurnState, TurnContext, TurnState, TurnState]:
    """Wire the nodes; the caller compiles, with a checkpointer to remember by."""
    graph = StateGraph(TurnState, context_schema=TurnContext)
    for node in NODES:
        graph.add_node(node.__name__, place(_traced(node)), retry_policy=ENGINE_RETRY)
    graph.add_edge(START, "understand")
    graph.add_edge("understand", "act")
    graph.add_edge("act", "answer")
    graph.add_edge("answer", END)
    return graph


def _traced(node: Node) -> Node:
    """Record each node as a span; the recommendation that `act` runs lies below it."""

    @functools.wraps(node)
    async def run(state: TurnState, runtime: Runtime[TurnContext]) -> TurnUpdate:
        inputs: dict[str, object] = {
            "said": state.said,
            "turn": state.turn,
            "understood": state.understood,
        }
        around = current_step()
        if around is not None and not around.run.path:
            # What the run begins with; a turn that is taken up again begins at a later node.
            inputs["memory"] = state.memory
        prompts = prompt_hash("understand") if node is understand else None
        tracer = runtime.context.srec.context.tracer
        with tracer.node(node.__name__, inputs=inputs, prompt_hash=prompts) as step:
            update = await node(state, runtime)
            step.output(update)
            return update

    return run
