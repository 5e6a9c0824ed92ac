"""A sampling profiler of this process: where its threads are, every few milliseconds.

Native code shows as the Python function that called it, so a call into vLLM, NumPy or Chroma counts
for the line of ours that made it.
"""

import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

EVERY_S = 0.005
OURS = tuple(Path(__file__).parents[1] / name for name in ("agent", "tools", "llm", "store"))
WAITING = frozenset({"threading", "selectors", "queue", "concurrent.futures.thread", "asyncio"})
"""Modules whose functions wait: a thread that is in one of them costs nothing."""


class Sampler:
    """Counts, while the block runs, which of our functions the threads were in.

    ```python
    with Sampler() as sampler:
        work()
    sampler.largest(3)
    ```
    """

    def __init__(self) -> None:
        self.costs: Counter[tuple[str, str]] = Counter()
        """Samples of our innermost function, and of the package that it had called."""
        self.samples = 0
        """Looks at the process."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop looking."""
        self._end.set()
        self._thread.join()

    def largest(self, count: int) -> list[tuple[str, str, float]]:
        """Our function, the package it was in, and the share of the looks that found it there."""
        return [
            (ours, package, number / max(self.samples, 1))
            for (ours, package), number in self.costs.most_common(count)
        ]

    def _watch(self) -> None:
        me = threading.get_ident()
        while not self._end.wait(EVERY_S):
            self.samples += 1
            for thread, frame in sys._current_frames().items():
                if thread != me and (cost := place(frame)) is not None:
                    self.costs[cost] += 1


def place(frame: FrameType | None) -> tuple[str, str] | None:
    """Our innermost function of a stack, and the package that works for it; None while it waits."""
    package = _module(frame)
    if frame is None or any(package == name or package.startswith(f"{name}.") for name in WAITING):
        return None
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        for folder in OURS:
            if path.is_relative_to(folder):
                name = f"{path.relative_to(folder.parent)}:{frame.f_code.co_qualname}"
                return name, package.partition(".")[0]
        frame = frame.f_back
    return None


def _module(frame: FrameType | None) -> str:
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""
