"""The event loop on which the graph runs, whoever calls."""

import asyncio
import threading
from collections.abc import Coroutine
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

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it; Ctrl-C meanwhile cancels it.

        Raises:
            StoreError: The loop was closed.
        """
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
            StoreError: The loop was closed.
        """
        if self._loop.is_closed():
            work.close()  # Python warns of one that nobody awaits.
            raise StoreError(f"{self._home!r} was closed: open it again")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End what still runs there, and the thread. Idempotent."""
        if self._loop.is_closed():
            return
        self.run(_unwound())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _unwound() -> None:
    """Cancel the other tasks of this loop, and let them end what they began: spans, files."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
