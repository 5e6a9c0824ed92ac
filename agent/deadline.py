"""How long a caller waits."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from mllm_srec.agent.errors import DeadlineExceeded

T = TypeVar("T")


async def within(deadline_s: float | None, work: Awaitable[T]) -> T:
    """Await work for so many seconds at most; None waits as long as it takes.

    Work that is late is cancelled: the graph stops, and with it what the engine does for it.

    Raises:
        DeadlineExceeded: It took longer.
    """
    timer = asyncio.timeout(deadline_s)
    try:
        async with timer:
            return await work
    except TimeoutError as error:
        if not timer.expired():
            raise  # of the work itself
        raise DeadlineExceeded(
            f"no answer within {deadline_s} s: ask again, what was done is kept"
        ) from error
