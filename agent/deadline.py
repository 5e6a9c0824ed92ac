"""How long a caller waits."""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

from mllm_srec.agent.errors import DeadlineExceeded

T = TypeVar("T")

_deadlines: ContextVar[tuple[tuple[asyncio.Timeout, float], ...]] = ContextVar(
    "srec_deadlines", default=()
)
"""Those around this task, with their seconds; the outermost first."""


async def within(deadline_s: float | None, work: Awaitable[T]) -> T:
    """Await work for so many seconds at most; None waits as long as it takes.

    Work that is late is cancelled: the graph stops, and with it what the engine does for it.

    Raises:
        DeadlineExceeded: It took longer.
    """
    if deadline_s is None:
        return await work
    timer = asyncio.timeout(deadline_s)
    token = _deadlines.set((*_deadlines.get(), (timer, deadline_s)))
    try:
        async with timer:
            return await work
    except TimeoutError as error:
        if not timer.expired():
            raise  # of the work itself
        raise DeadlineExceeded(
            f"no answer within {deadline_s} s: ask again, what was done is kept"
        ) from error
    finally:
        _deadlines.reset(token)


def passed_deadline() -> float | None:
    """The seconds that a caller of this task would wait, once they are over; else None.

    Work sees a deadline as a cancellation: this tells it from others.
    """
    return next((seconds for timer, seconds in _deadlines.get() if timer.expired()), None)
