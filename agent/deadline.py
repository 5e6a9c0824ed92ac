"""How long a caller waits."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from numbers import Real
from typing import Any, TypeVar

from mllm_srec.agent.errors import DeadlineExceeded
from mllm_srec.tools.errors import WrongCall

T = TypeVar("T")

_deadlines: ContextVar[tuple[tuple[asyncio.Timeout, float], ...]] = ContextVar(
    "srec_deadlines", default=()
)
"""Those around this task, with their seconds; the outermost first."""


async def within(deadline_s: float | None, work: Coroutine[Any, Any, T]) -> T:
    """Await work for so many seconds at most; None waits as long as it takes.

    Work that is late is cancelled: the graph stops, and with it what the engine does for it.

    Raises:
        WrongCall: The seconds are no number, or less than none.
        DeadlineExceeded: It took longer.
    """
    if deadline_s is None:
        return await work
    if not (isinstance(deadline_s, Real) and deadline_s >= 0):
        work.close()  # Python warns of one that nobody awaits.
        raise WrongCall(f"deadline_s is {deadline_s!r}: give the seconds to wait, or None")
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
