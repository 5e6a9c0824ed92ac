"""A lock that threads get in the order in which they ask."""

import threading
from types import TracebackType


class Turns:
    """Like `threading.RLock`, but fair.

    A thread that lets a plain lock go and wants it again at once mostly has it again before those
    who wait have woken: it would compute token after token while their prompts stand outside.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets = 0
        self._served = 0
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        """Wait for the turn; whose turn it is goes through."""
        me = threading.get_ident()
        with self._changed:
            if self._owner != me:
                ticket = self._tickets
                self._tickets += 1
                self._changed.wait_for(lambda: self._served == ticket)
                self._owner = me
            self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the turn to the next."""
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._served += 1
                self._changed.notify_all()
