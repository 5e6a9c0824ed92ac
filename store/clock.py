"""How long the stores take: told to whoever watches, in the task in which they are used."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watch = Callable[[str, float], None]
"""Is told which store worked, and the seconds that it took."""

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
def store_time(store: str) -> Iterator[None]:
    """Count the time inside as that store's; what lies inside another's counts once, as that's."""
    tell = _watch.get()
    if tell is None:
        yield
        return
    started = time.perf_counter()
    try:
        with watching(None):
            yield
    finally:
        tell(store, time.perf_counter() - started)
