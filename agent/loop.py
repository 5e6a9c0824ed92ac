"""The event loop on which the graph runs, whoever calls."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from mllm_srec.store.closing import Closing
from mllm_srec.store.errors import StoreError

T = TypeVar("T")


class LoopThread(Closing):
    """An event loop on a thread of its own, for callers on any other thread and loop."""

    def __init__(self, home: str) -> None:
        """Start it.

        Args:
            home: Folder of the home that it works for, as errors name it.
        """
        self._home = home
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="graph", daemon=True)
        self._thread.start()
        self._process = os.getpid()
        self._guard = threading.Lock()
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it; Ctrl-C meanwhile cancels it.

        Raises:
            StoreError: The loop was closed, or is another process's.
            RuntimeError: Called on the loop itself, which would wait for itself for ever.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("this runs on the loop already: await it there")
        future = self.start(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """`run` for asynchronous callers, from any loop; cancelling it cancels the work."""
        return await asyncio.wrap_future(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; cancelling the future cancels it there.

        Raises:
            StoreError: The loop was closed, or is another process's: a fork has no threads.
        """
        # What is taken before the loop is closed, the closing ends; nothing comes in between.
        with self._guard:
            if not self._closed and self._is_mine:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()  # Python warns of one that nobody awaits.
        why = "was closed" if self._is_mine else f"is open in the process {self._process} alone"
        raise StoreError(f"{self._home!r} {why}: open it again")

    def close(self) -> None:
        """End what still runs there, and the thread. Idempotent."""
        with self._guard:
            if self._closed or not self._is_mine:
                return
            self._closed = True
            ended = asyncio.run_coroutine_threadsafe(_unwound(), self._loop)
        ended.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def _is_mine(self) -> bool:
        return os.getpid() == self._process


async def stopped(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and let them end what they began: spans, files, what is remembered."""
    ending = list(tasks)
    for task in ending:
        # One that was cancelled already is at its last words.
        if not task.cancelling():
            task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def _unwound() -> None:
    """Stop the other tasks of this loop."""
    await stopped(asyncio.all_tasks() - {asyncio.current_task()})
