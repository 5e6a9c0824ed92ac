"""A gate between processes: many readers together, or one alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Gate:
    """Waits its turn, unlike the lock of the home, and is held for moments only.

    Chroma needs it: a process that opened a folder while another wrote to it crashed with a
    segmentation fault (1.5.9). Not for use by several threads at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._mode = fcntl.LOCK_UN

    @contextmanager
    def hold(self, *, alone: bool) -> Iterator[None]:
        """Be inside for the length of the block; blocks may nest, and the inner may be alone."""
        outer = self._mode
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._change(fcntl.LOCK_EX if alone or outer == fcntl.LOCK_EX else fcntl.LOCK_SH)
            yield
        finally:
            self._change(outer)
            if outer == fcntl.LOCK_UN:
                os.close(self._file)
                self._file = None

    def _change(self, mode: int) -> None:
        if mode != self._mode and self._file is not None:
            fcntl.flock(self._file, mode)
            self._mode = mode
