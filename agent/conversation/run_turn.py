"""A turn that was written down, run through the graph from the last node that is done."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context

from mllm_srec.agent.conversation.checkpoints import Saver, go_on_from, memory_errors, prune
from mllm_srec.agent.conversation.results import TurnResult, turn_item
from mllm_srec.agent.conversation.state import (
    SCHEMA,
    TurnContext,
    TurnState,
    TurnUpdate,
    restored,
)
from mllm_srec.agent.conversation.turn import partial_answer
from mllm_srec.agent.events import Listener, tell_of_node
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.engine import ModelError
from mllm_srec.store.threads import KeptTurn, Thread

STOPPED = "Stopped."
"""How the answer of a turn ends that was stopped."""

ConversationGraph = CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState]


@dataclass(frozen=True, slots=True)
class TurnRunner:
    """Runs the turns of one thread and keeps what came of them."""

    srec: Recommender
    graph: ConversationGraph
    saver: Saver
    thread: Thread
    under_way: set[asyncio.Task[Any]]
    """Tasks that run a turn, of any thread: whoever closes the checkpointer ends them first."""

    async def run(self, kept: KeptTurn, tell: Listener | None = None) -> TurnResult:
        """Run a turn, from the last node that is done, and keep its result.

        Raises:
            StoreError: The thread was kept by another version, or its memory cannot be written.
            EngineLost: The engine stopped answering, also when tried again.
        """
        task = asyncio.current_task()
        assert task is not None
        self.under_way.add(task)
        try:
            with memory_errors(self.saver, self.thread.thread_id):
                return await self._run(kept, tell)
        finally:
            self.under_way.discard(task)

    async def _run(self, kept: KeptTurn, tell: Listener | None) -> TurnResult:
        started = time.perf_counter()
        context = TurnContext(self.srec)
        with self.srec.context.run(
            "turn",
            user=self.thread.user_id,
            session=self.thread.thread_id,
            inputs={
                "turn": kept.turn,
                "said": kept.said["text"],
                "picture": kept.said["picture"],
                "command": kept.said["command"],
            },
        ) as run:
            try:
                state = await self._steps(kept, context, tell)
            except asyncio.CancelledError:
                stopped = self._result(_stopped(context.so_far), kept, run.trace_id, started)
                self._keep(replace(stopped, stopped=True))
                await self._remember(context.so_far)
                raise
            except ModelError:
                await self._remember(context.so_far)
                raise
            run.output(state.told)
        result = self._result(state, kept, run.trace_id, started)
        self._keep(result)
        await prune(self.saver, self.thread.thread_id)
        return result

    @property
    def _config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.thread.thread_id}}

    async def _state(self) -> TurnState | None:
        snapshot = await self.graph.aget_state(self._config)
        go_on_from(snapshot.config)
        values = snapshot.values
        return restored(values, self.thread.thread_id) if values else None

    async def _remember(self, so_far: TurnUpdate) -> None:
        """Keep what a turn did before it broke off; worked on again, it acts once more."""
        if so_far:
            with tracing_context(enabled=False):
                await self.graph.aupdate_state(self._config, so_far, as_node="understand")

    async def _steps(
        self, kept: KeptTurn, context: TurnContext, tell: Listener | None
    ) -> TurnState:
        """Run the nodes that are left of a turn."""
        before = await self._state()
        begun = before is not None and before.turn == kept.turn
        if before is not None and begun and before.answer:
            return before
        started: dict[str, float] = {}
        # A part of the state, or nothing to go on: LangGraph takes both, its types the whole alone.
        given: Any = None if begun else self._entry(kept)
        with tracing_context(enabled=False):
            parts: AsyncIterator[Any] = self.graph.astream(
                given,
                self._config,
                context=context,
                stream_mode=["tasks", "custom"],
                durability="sync",
            )
            async for mode, chunk in parts:
                if tell is None:
                    continue
                if mode == "custom":
                    tell(chunk)
                else:
                    tell_of_node(tell, chunk, started)
        state = await self._state()
        assert state is not None
        return state

    def _entry(self, kept: KeptTurn) -> dict[str, Any]:
        """What a new turn puts into the state; the answer of the one before must not pass."""
        return {
            "schema": SCHEMA,
            "user_id": self.thread.user_id,
            "thread_id": self.thread.thread_id,
            "turn": kept.turn,
            "said": kept.said["text"],
            "picture": kept.said["picture"],
            "command": kept.said["command"],
            "understood": {},
            "answer": "",
        }

    def _result(
        self, state: TurnState, kept: KeptTurn, trace_id: str, started: float
    ) -> TurnResult:
        return TurnResult(
            turn=kept.turn,
            thread=self.thread.thread_id,
            user=self.thread.user_id,
            said=kept.said["text"],
            intent=state.understood.get("intent", "other"),
            answer=state.answer,
            items=tuple(turn_item(each) for each in state.outcome["items"]),
            trace_id=trace_id,
            engine=self.srec.deployment.info.engine,
            fallback=state.fallback,
            seconds=time.perf_counter() - started,
        )

    def _keep(self, result: TurnResult) -> None:
        threads = self.srec.deployment.home.threads
        threads.finish(self.thread.thread_id, result.turn, result.to_dict())


def _stopped(so_far: TurnUpdate) -> TurnState:
    """What a turn came to that was stopped after having done so much."""
    if not so_far:
        return TurnState(answer=STOPPED)
    said = so_far["outcome"]
    text = f"{partial_answer(said).text}\n{STOPPED}"
    return TurnState(understood=so_far["understood"], outcome=said, answer=text)
