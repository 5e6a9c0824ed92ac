"""How long the stores take: told to whoever watches, in the task in which they are used."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watch = Callable[[float], None]
"""Is told seconds."""

_watch: ContextVar[Watch | None] = ContextVar("srec_store_watch", default=None)


@contextmanager
def watching(tell: Watch | None) -> Iterator[None]:
    """Tell the seconds of what the stores do inside, in this task; None tells nobody."""
    token = _watch.set(tell)
    try:
        yield
    finally:
        _watch.reset(token)


@contextmanager
def store_time() -> Iterator[None]:
    """Count the time inside as a store's; what lies inside another counts once."""
    tell = _watch.get()
    if tell is None:
        yield
        return
    started = time.perf_counter()
    try:
        with watching(None):
            yield
    finally:
        tell(time.perf_counter() - started)
