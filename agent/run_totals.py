"""What a run took, summed up while its nodes and calls end; threads may add at the same time."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mllm_srec.agent.results import Tokens


class RunTotals:
    """Seconds, calls, tokens and the best score of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Wall seconds a node, over all its passes."""
        self.tokens: dict[str, Tokens] = {}
        """Calls and tokens a node."""
        self.engine_seconds = 0.0
        """Seconds during which at least one call was with the engine."""
        self.score: float | None = None
        """Best margin between two labels, in nats; None where nothing was scored."""
        self._lock = threading.Lock()
        self._calling = 0
        self._called_at = 0.0
        self._started = time.perf_counter()
        self._ended: float | None = None

    @property
    def total_seconds(self) -> float:
        """Wall seconds of the run, until now while it runs."""
        ended = time.perf_counter() if self._ended is None else self._ended
        return ended - self._started

    @property
    def total(self) -> Tokens:
        """Calls and tokens of all nodes."""
        return sum(self.tokens.values(), Tokens())

    def end(self) -> None:
        """Stop the clock of the run."""
        self._ended = time.perf_counter()

    def add_seconds(self, node: str, seconds: float) -> None:
        """Count a pass of a node."""
        with self._lock:
            self.seconds[node] = self.seconds.get(node, 0.0) + seconds

    def add_tokens(self, node: str, tokens: Tokens) -> None:
        """Count calls of a node."""
        with self._lock:
            self.tokens[node] = self.tokens.get(node, Tokens()) + tokens

    def add_score(self, margin: float) -> None:
        """Count a margin between two labels."""
        with self._lock:
            if math.isfinite(margin):
                self.score = margin if self.score is None else max(self.score, margin)

    @contextmanager
    def engine_time(self) -> Iterator[None]:
        """Count the time inside as the engine's; what overlaps counts once."""
        with self._lock:
            if not self._calling:
                self._called_at = time.perf_counter()
            self._calling += 1
        try:
            yield
        finally:
            with self._lock:
                self._calling -= 1
                if not self._calling:
                    self.engine_seconds += time.perf_counter() - self._called_at
