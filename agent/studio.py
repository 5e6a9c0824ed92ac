"""Both graphs as LangGraph's server runs them, in Studio: `langgraph.json` names these factories.

The server gives a run its input and no open home. So the factory opens the home that `SREC_HOME`
names, once, at the first run, and binds each node to it; where the server only draws or reads, no
home is opened.
"""

import atexit
import functools
import inspect
import os
import threading
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph_sdk.runtime import ServerRuntime
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.cli_options import DEFAULT_HOME, HOME_VARIABLE
from mllm_srec.agent.conversation.graph import build_conversation
from mllm_srec.agent.conversation.state import TurnContext
from mllm_srec.agent.graph import Place, build_graph
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.tracing.tracer import Run

Graph = CompiledStateGraph[Any, Any, Any, Any]

_opening = threading.Lock()


@asynccontextmanager
async def recommend(runtime: ServerRuntime[Any]) -> AsyncIterator[Graph]:
    """The recommendation graph: give it a `user_id` and `k`."""
    async with _served(runtime, build_graph, lambda srec: srec.context) as graph:
        yield graph


@asynccontextmanager
async def conversation(runtime: ServerRuntime[Any]) -> AsyncIterator[Graph]:
    """The conversation graph: give it a `user_id` and what is `said`; the server remembers."""
    async with _served(runtime, build_conversation, TurnContext) as graph:
        yield graph


@asynccontextmanager
async def _served(
    runtime: ServerRuntime[Any], build: Callable[..., Any], context_of: Callable[[Recommender], Any]
) -> AsyncIterator[Graph]:
    if runtime.execution_runtime is None:
        yield _compiled(build())
        return
    srec = await to_thread(_opened)
    with srec.context.run("studio") as run:
        yield _compiled(build(_bound(srec, context_of(srec), run)))


def _compiled(graph: Any) -> Graph:
    # What the nodes depend on is bound to them: nobody is to fill it in on a form.
    graph.context_schema = None
    compiled: Graph = graph.compile()
    return compiled


def _bound(srec: Recommender, context: Any, run: Run) -> Place:
    """Run what the graph is made of on the loop of the deployment, with the context of its home."""

    def place(work: Any) -> Any:
        @functools.wraps(work)
        async def placed(state: Any, runtime: Runtime[Any]) -> Any:
            if run.user is None:
                # Known from here on; a user that is deleted takes the trace along.
                run.user = state.user_id
                run.record({Names.USER_ID: state.user_id})
            return await srec.deployment.arun(_done(work, state, runtime.override(context=context)))

        return placed

    return place


async def _done(work: Any, state: Any, runtime: Runtime[Any]) -> Any:
    found = work(state, runtime)
    return await found if inspect.isawaitable(found) else found


def _opened() -> Recommender:
    """The home of this process, open until it ends.

    Raises:
        HomeError: The folder is not a home.
        ModelError: The model could not be loaded.
    """
    with _opening:
        return _open_once()


@functools.cache
def _open_once() -> Recommender:
    srec = Recommender.open(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)
    atexit.register(srec.close)
    return srec
