"""Stopping the call of an engine from another thread, when nobody waits for its answer any more.

An engine asks `governing()` while it works: between tokens, batches or requests.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stopped(Exception):
    """The call was broken off: who asked for it is gone."""


class Stop:
    """Tells the calls that it governs to break off."""

    def __init__(self) -> None:
        self._asked = False
        self._calls: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def asked(self) -> bool:
        """Whether the calls shall break off."""
        return self._asked

    def ask(self) -> None:
        """Break the calls off; those that begin later too."""
        with self._lock:
            self._asked = True
            calls = list(self._calls)
        for call in calls:
            call()

    def check(self) -> None:
        """Go on, or break off.

        Raises:
            Stopped: It was asked.
        """
        if self._asked:
            raise Stopped

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Within the block, `call` is called on the thread that asks; at once if it has asked."""
        with self._lock:
            self._calls.append(call)
            asked = self._asked
        if asked:
            call()
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)

    @contextmanager
    def govern(self) -> Iterator[None]:
        """Govern the calls that this thread makes within the block."""
        before = _GOVERNING.set(self)
        try:
            yield
        finally:
            _GOVERNING.reset(before)


_GOVERNING: ContextVar[Stop] = ContextVar("stop", default=Stop())  # noqa: B039 - never asked


def governing() -> Stop:
    """What may stop the call that this thread is in; nothing ever does by default."""
    return _GOVERNING.get()
