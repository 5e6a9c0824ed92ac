"""`Conversations`: talks with the users of a home, each on a thread that is kept."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from mllm_srec.agent.chain import check_user
from mllm_srec.agent.conversation.checkpoints import (
    Saver,
    copy_memory,
    memory_errors,
    open_saver,
)
from mllm_srec.agent.conversation.graph import build_conversation
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.agent.conversation.run_turn import ConversationGraph, TurnRunner
from mllm_srec.agent.deadline import within
from mllm_srec.agent.events import Event, Listener, afollow, follow
from mllm_srec.agent.loop import stopped
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.untrusted import sound
from mllm_srec.llm.engine import EngineLost, ModelError
from mllm_srec.store.closing import Closing
from mllm_srec.store.errors import BadPicture, HomeBusy, StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.threads import KeptTurn, Thread


class Conversations(Closing):
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
        self.saver: Saver = srec.deployment.run(open_saver(self.home.checkpoints_url))
        self.graph: ConversationGraph = build_conversation().compile(checkpointer=self.saver)
        self._under_way: set[asyncio.Task[Any]] = set()

    def begin(self, user: str, thread: str | None = None) -> "Conversation":
        """Begin a thread, or take one up: a turn that a crash cut off is finished first.

        A new thread is listed once a turn was said in it. A turn that the model refuses, such as a
        prompt that is too long for it, stays without an answer.

        Raises:
            WrongCall: The user can be none.
            StoreError: The thread is another user's, or was kept by another version.
            HomeBusy: Another process has the thread open.
            EngineLost: The engine stopped answering the turn that was cut off.
        """
        return self.srec.deployment.run(self._begun(user, thread))

    async def abegin(self, user: str, thread: str | None = None) -> "Conversation":
        """`begin` for asynchronous callers, from any loop."""
        return await self.srec.deployment.arun(self._begun(user, thread))

    async def _begun(self, user: str, thread: str | None) -> "Conversation":
        check_user(user)
        thread_id = uuid4().hex[:12] if thread is None else thread
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", thread_id):
            raise StoreError(f"thread {thread_id!r}: use up to 64 letters, digits, - and _")
        lock = _locked(self.home, thread_id)
        try:
            threads, now = self.home.threads, int(time.time())
            # One that is new is kept with its first turn: who says nothing leaves nothing.
            kept = threads.thread(thread_id) is not None
            new = Thread(thread_id=thread_id, user_id=user, started=now)
            begun = threads.start(thread_id, user, now=now) if kept else new
            runner = TurnRunner(self.srec, self.graph, self.saver, begun, self._under_way)
            cut_off = threads.unfinished(thread_id)
            resumed = await _finished(runner, cut_off) if cut_off else None
            return Conversation(runner, lock, kept=kept, resumed=resumed)
        except BaseException:
            lock.release()
            raise

    def fork(self, thread: str) -> str:
        """Begin a thread with all that was said and remembered in another one; its id.

        Raises:
            StoreError: There is no such thread, or its memory cannot be copied.
        """
        return self.srec.deployment.run(self._forked(thread))

    async def afork(self, thread: str) -> str:
        """`fork` for asynchronous callers, from any loop."""
        return await self.srec.deployment.arun(self._forked(thread))

    async def _forked(self, thread: str) -> str:
        fork = uuid4().hex[:12]
        # The memory first: a fork that is listed has all of it.
        with memory_errors(self.saver, thread):
            await copy_memory(self.saver, thread, fork)
        self.home.threads.copy(thread, fork, now=int(time.time()))
        return fork

    def threads(self, user: str) -> list[Thread]:
        """The threads of a user, newest first."""
        return self.home.threads.of(user)

    def delete(self, thread: str) -> bool:
        """Delete a thread with all that was said in it; False where there was none.

        Raises:
            HomeBusy: A conversation has it open, here or in another process.
        """
        known = self.home.threads.thread(thread)
        return known is not None and self.home.delete_thread(thread)

    def close(self) -> None:
        """Stop the turns under way, which are kept so, and close the checkpointer."""
        self.srec.deployment.run(self._ended())

    async def _ended(self) -> None:
        await stopped(self._under_way)
        await self.saver.conn.close()


class Conversation(Closing):
    """One thread, bound to one user, open in one process."""

    def __init__(
        self, runner: TurnRunner, lock: FileLock, *, kept: bool, resumed: TurnResult | None
    ) -> None:
        self._deployment = runner.srec.deployment
        self._home = self._deployment.home
        self._runner = runner
        self._lock = lock
        self._kept = kept
        self.thread = runner.thread.thread_id
        self.user = runner.thread.user_id
        self._turn = asyncio.Lock()
        self.resumed = resumed
        """The turn that was cut off before, finished now; None where there was none."""

    def say(
        self,
        text: str,
        *,
        picture: bytes | None = None,
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> TurnResult:
        """One turn.

        Args:
            text: What the user says.
            picture: Bytes of a picture that goes with it.
            key: A turn under a key that was used before is not run again: its result is returned,
                unless it was stopped.
            deadline_s: Longest wait, in seconds; a turn that takes longer is stopped, and kept so.

        Raises:
            BadPicture: The picture cannot be taken.
            DeadlineExceeded: It took longer.
            EngineLost: The engine stopped answering, also when tried again.
        """
        request = self._request(text, picture)
        return self._deployment.run(self._said(request, key, deadline_s))

    async def asay(
        self,
        text: str,
        *,
        picture: bytes | None = None,
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> TurnResult:
        """`say` for asynchronous callers, from any loop; cancelling it stops the turn."""
        request = self._request(text, picture)
        return await self._deployment.arun(self._said(request, key, deadline_s))

    def do(
        self,
        turn: Understood,
        *,
        said: str = "",
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> TurnResult:
        """One turn that needs no understanding, such as a slash command; the rest as in `say`."""
        request = self._request(said, None, turn)
        return self._deployment.run(self._said(request, key, deadline_s))

    async def ado(
        self,
        turn: Understood,
        *,
        said: str = "",
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> TurnResult:
        """`do` for asynchronous callers, from any loop; cancelling it stops the turn."""
        request = self._request(said, None, turn)
        return await self._deployment.arun(self._said(request, key, deadline_s))

    def start(
        self,
        text: str,
        tell: Listener,
        *,
        picture: bytes | str | None = None,
        turn: Understood | None = None,
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> Future[TurnResult]:
        """Begin a turn and tell of its nodes; cancelling the future stops it.

        The picture of an earlier turn may be given as its hash; the rest as in `say`.
        """
        request = self._request(text, picture, turn)
        return self._deployment.start(self._said(request, key, deadline_s, tell))

    def stream(
        self,
        text: str,
        *,
        picture: bytes | None = None,
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[Event | TurnResult]:
        """`say`, told node by node; the last event is the result.

        Leaving the iteration early stops the turn.
        """
        how: dict[str, Any] = {"picture": picture, "key": key, "deadline_s": deadline_s}
        yield from follow(lambda tell: self.start(text, tell, **how))

    async def astream(
        self,
        text: str,
        *,
        picture: bytes | None = None,
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> AsyncIterator[Event | TurnResult]:
        """`stream` for asynchronous callers, from any loop."""
        how: dict[str, Any] = {"picture": picture, "key": key, "deadline_s": deadline_s}
        events = afollow(lambda tell: self.start(text, tell, **how))
        async with aclosing(events):
            async for event in events:
                yield event

    def turns(self) -> list[KeptTurn]:
        """What was said so far, and what came of it."""
        return self._home.threads.turns(self.thread)

    def close(self) -> None:
        """Let another process take the thread up; of one where nothing was said, nothing stays."""
        if self._lock.is_locked and not self._kept:
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _request(
        self, text: str, picture: bytes | str | None, turn: Understood | None = None
    ) -> dict[str, Any]:
        if isinstance(picture, bytes):
            picture = self._home.pictures.add(picture, giver=self.user)
        elif picture is not None and picture not in self._home.pictures:
            raise BadPicture(f"{picture!r} is no picture that is kept: give the bytes of its file")
        return {
            "text": sound(text),
            "picture": picture,
            "command": None if turn is None else turn.model_dump(mode="json"),
        }

    async def _said(
        self,
        request: dict[str, Any],
        key: str | None,
        deadline_s: float | None,
        tell: Listener | None = None,
    ) -> TurnResult:
        return await within(deadline_s, self._turn_of(request, key, tell))

    async def _turn_of(
        self, request: dict[str, Any], key: str | None, tell: Listener | None
    ) -> TurnResult:
        threads = self._home.threads
        async with self._turn:
            if not self._lock.is_locked:
                # Another process may have the thread by now.
                raise StoreError(
                    f"the conversation {self.thread!r} was closed: begin it again with its thread"
                )
            known = None if key is None else threads.turn_of(self.thread, key)
            if known is None:
                if not self._kept:
                    threads.start(self.thread, self.user, now=int(time.time()))
                    self._kept = True
                turn = threads.accept(self.thread, request, key=key)
                known = KeptTurn(turn=turn, said=request)
            result = None if known.result is None else TurnResult.from_dict(known.result)
            # One that was stopped is worked on again, under its number: no wish is kept twice.
            if result is None or result.stopped:
                return await self._runner.run(known, tell)
            return result


async def _finished(runner: TurnRunner, cut_off: KeptTurn) -> TurnResult | None:
    """What comes of a turn that was cut off; None where the model refuses it."""
    try:
        return await runner.run(cut_off)
    except EngineLost:
        raise
    except ModelError:
        # It would each time, and the thread could not be taken up any more.
        return None


def _locked(home: Home, thread_id: str) -> FileLock:
    lock = home.thread_lock(thread_id)
    try:
        lock.acquire()
    except Timeout as error:
        raise HomeBusy(
            f"another chat has the thread {thread_id!r} open: close it, or begin a new thread"
        ) from error
    return lock
