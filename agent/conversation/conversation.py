"""`Conversations`: talks with the users of a home, each on a thread that is kept."""

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, cast
from uuid import uuid4

from filelock import FileLock, Timeout
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context

from mllm_srec.agent.conversation.checkpoints import open_saver, prune
from mllm_srec.agent.conversation.graph import build_conversation
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.results import TurnResult, turn_item
from mllm_srec.agent.conversation.state import SCHEMA, TurnContext, TurnState, restored
from mllm_srec.agent.events import Event, Listener, tell_of_node
from mllm_srec.agent.recommender import Recommender
from mllm_srec.store.errors import HomeBusy, StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.threads import KeptTurn, Thread

STOPPED = "Stopped."
"""What a turn answers that its user stopped."""


class Conversations:
    """The conversations of a home.

    ```python
    with Recommender.open("~/shop") as srec, Conversations(srec) as talks:
        chat = talks.begin("u17")
        print(chat.say("five toys under 20, nothing pink").answer)
    ```
    """

    def __init__(self, srec: Recommender) -> None:
        self.srec = srec
        self.home: Home = srec.deployment.home
        path = self.home.conversations_path / "checkpoints.sqlite"
        self.saver: AsyncSqliteSaver = srec.deployment.run(open_saver(path))
        self.graph: CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState] = (
            build_conversation().compile(checkpointer=self.saver)
        )

    def begin(self, user: str, thread: str | None = None) -> "Conversation":
        """Begin a thread, or take one up: a turn that a crash cut off is finished first.

        Raises:
            StoreError: The thread is another user's, or was kept by another version.
            HomeBusy: Another process has the thread open.
        """
        thread_id = uuid4().hex[:12] if thread is None else thread
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", thread_id):
            raise StoreError(f"thread {thread_id!r}: use up to 64 letters, digits, - and _")
        lock = _locked(self.home.conversations_path / f"{thread_id}.lock", thread_id)
        try:
            kept = self.home.threads.start(thread_id, user, now=int(time.time()))
            return Conversation(self, kept, lock)
        except BaseException:
            lock.release()
            raise

    def threads(self, user: str) -> list[Thread]:
        """The threads of a user, newest first."""
        return self.home.threads.of(user)

    def delete(self, thread: str) -> bool:
        """Delete a thread with all that was said in it; False where there was none."""
        self.srec.deployment.run(self.saver.adelete_thread(thread))
        return self.home.threads.delete(thread)

    def delete_user(self, user: str) -> int:
        """Delete everything of a user: log, wishes, threads; the interactions deleted.

        Raises:
            HomeBusy: Another process writes to the home.
        """
        for thread in self.threads(user):
            self.delete(thread.thread_id)
        return self.home.delete_user(user)

    def close(self) -> None:
        """Close the checkpointer."""
        self.srec.deployment.run(self.saver.conn.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Conversation:
    """One thread, bound to one user, open in one process."""

    def __init__(self, talks: Conversations, thread: Thread, lock: FileLock) -> None:
        self._talks = talks
        self._lock = lock
        self.thread = thread.thread_id
        self.user = thread.user_id
        self._config: RunnableConfig = {"configurable": {"thread_id": self.thread}}
        self._turn = asyncio.Lock()
        self.resumed: TurnResult | None = None
        """The turn that was cut off before, finished now; None where there was none."""
        if cut_off := talks.home.threads.unfinished(self.thread):
            self.resumed = talks.srec.deployment.run(self._finish(cut_off))

    def say(self, text: str, *, picture: bytes | None = None, key: str | None = None) -> TurnResult:
        """One turn.

        Args:
            text: What the user says.
            picture: Bytes of a picture that goes with it.
            key: A turn under a key that was used before is not run again: its result is returned.

        Raises:
            BadPicture: The picture cannot be taken.
            EngineLost: The engine stopped answering, also when tried again.
        """
        return self._talks.srec.deployment.run(self._said(self._request(text, picture), key))

    async def asay(
        self, text: str, *, picture: bytes | None = None, key: str | None = None
    ) -> TurnResult:
        """`say` for asynchronous callers, from any loop; cancelling it stops the turn."""
        work = self._said(self._request(text, picture), key)
        return await asyncio.wrap_future(self._talks.srec.deployment.start(work))

    def do(self, turn: Understood, *, said: str = "") -> TurnResult:
        """One turn that needs no understanding, such as a slash command."""
        request = {"text": said, "picture": None, "command": turn.model_dump(mode="json")}
        return self._talks.srec.deployment.run(self._said(request, None))

    def start(
        self,
        text: str,
        tell: Listener,
        *,
        picture: bytes | None = None,
        turn: Understood | None = None,
    ) -> Future[TurnResult]:
        """Begin a turn and tell of its nodes; cancelling the future stops it."""
        request = self._request(text, picture)
        request["command"] = None if turn is None else turn.model_dump(mode="json")
        return self._talks.srec.deployment.start(self._said(request, None, tell))

    def stream(self, text: str, *, picture: bytes | None = None) -> Iterator[Event | TurnResult]:
        """`say`, told node by node; the last event is the result."""
        events: SimpleQueue[Event | None] = SimpleQueue()
        work = self.start(text, events.put, picture=picture)
        work.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
            yield work.result()
        finally:
            work.cancel()

    def turns(self) -> list[KeptTurn]:
        """What was said so far, and what came of it."""
        return self._talks.home.threads.turns(self.thread)

    def close(self) -> None:
        """Let another process take the thread up."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _request(self, text: str, picture: bytes | None) -> dict[str, Any]:
        kept = None if picture is None else self._talks.home.pictures.add(picture)
        return {"text": text, "picture": kept, "command": None}

    async def _said(
        self, request: dict[str, Any], key: str | None, tell: Listener | None = None
    ) -> TurnResult:
        threads = self._talks.home.threads
        async with self._turn:
            known = None if key is None else threads.turn_of(self.thread, key)
            if known is None:
                turn = threads.accept(self.thread, request, key=key)
                known = KeptTurn(turn=turn, said=request)
            if known.result is not None:
                return TurnResult.from_dict(known.result)
            return await self._finish(known, tell)

    async def _finish(self, kept: KeptTurn, tell: Listener | None = None) -> TurnResult:
        """Run a turn that was written down, from the last node that is done."""
        started = time.perf_counter()
        srec, saver = self._talks.srec, self._talks.saver
        before = await self._state()
        with srec.deployment.tracer.run(
            "turn",
            user=self.user,
            session=self.thread,
            inputs={"turn": kept.turn, "said": kept.said["text"]},
            engine=srec.deployment.info,
        ) as run:
            try:
                state = await self._steps(before, kept, tell)
            except asyncio.CancelledError:
                self._keep(self._result(TurnState(answer=STOPPED), kept, run.trace_id, started))
                raise
            run.output({"intent": state.understood["intent"], "answer": state.answer})
        result = self._result(state, kept, run.trace_id, started)
        self._keep(result)
        await prune(saver, self.thread)
        return result

    async def _state(self) -> TurnState | None:
        values = (await self._talks.graph.aget_state(self._config)).values
        return restored(values, self.thread) if values else None

    async def _steps(
        self, before: TurnState | None, kept: KeptTurn, tell: Listener | None
    ) -> TurnState:
        """Run the nodes that are left of a turn."""
        graph = self._talks.graph
        begun = before is not None and before.turn == kept.turn
        if before is not None and begun and before.answer:
            return before
        context = TurnContext(self._talks.srec, tell)
        # The answer of the turn before must not pass for this one's.
        entry: dict[str, Any] | None = (
            None
            if begun
            else {
                "schema": SCHEMA,
                "user_id": self.user,
                "thread_id": self.thread,
                "turn": kept.turn,
                "said": kept.said["text"],
                "picture": kept.said["picture"],
                "command": kept.said["command"],
                "understood": {},
                "answer": "",
            }
        )
        started: dict[str, float] = {}
        with tracing_context(enabled=False):
            parts = graph.astream(
                cast(Any, entry),
                self._config,
                context=context,
                stream_mode="tasks",
                durability="sync",
            )
            async for chunk in parts:
                if tell:
                    tell_of_node(tell, cast(Any, chunk), started)
        state = await self._state()
        assert state is not None
        return state

    def _result(
        self, state: TurnState, kept: KeptTurn, trace_id: str, started: float
    ) -> TurnResult:
        return TurnResult(
            turn=kept.turn,
            thread=self.thread,
            user=self.user,
            said=kept.said["text"],
            intent=state.understood.get("intent", "other"),
            answer=state.answer,
            items=tuple(turn_item(each) for each in state.outcome["items"]),
            trace_id=trace_id,
            engine=self._talks.srec.deployment.info.engine,
            fallback=state.fallback,
            seconds=time.perf_counter() - started,
        )

    def _keep(self, result: TurnResult) -> None:
        self._talks.home.threads.finish(self.thread, result.turn, result.to_dict())


def _locked(path: Path, thread_id: str) -> FileLock:
    lock = FileLock(path, mode=0o600, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise HomeBusy(
            f"another chat has the thread {thread_id!r} open: close it, or begin a new thread"
        ) from error
    return lock
