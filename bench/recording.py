"""What recording costs: its share of the time of 200 turns, and the bytes that a turn leaves."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure
from bench.shop import Shop, users_with
from mllm_srec.agent.calls import Calls
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.tracing.attributes import Done
from mllm_srec.agent.tracing.calls import TracedCalls
from mllm_srec.agent.tracing.tracer import Run, Step, Tracer
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt
from mllm_srec.store.traces import TraceStore

TURNS = 200
LEAST_HISTORY = 4
"""Interactions of a user who is asked for."""

T = TypeVar("T")


class Stopwatch:
    """Adds up the time between start and stop; what starts inside counts once."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = 0.0
        self._clock = clock
        self._since: float | None = None

    @contextmanager
    def running(self, on: bool = True) -> Iterator[None]:
        """Run, or stand still, while inside."""
        before, was_on = self._clock(), self._since is not None
        self._switch(on, before)
        try:
            yield
        finally:
            self._switch(was_on, self._clock())

    def _switch(self, on: bool, now: float) -> None:
        if self._since is not None:
            self.seconds += now - self._since
        self._since = now if on else None

    @contextmanager
    def around(self, manager: AbstractContextManager[T]) -> Iterator[T]:
        """Run while a block is entered and left, not while inside."""
        with self.running():
            value = manager.__enter__()
        try:
            yield value
        except BaseException:
            with self.running():
                manager.__exit__(*sys.exc_info())
            raise
        with self.running():
            manager.__exit__(None, None, None)


class WatchedTracer(Tracer):
    """A tracer whose work is timed."""

    def __init__(self, store: TraceStore, watch: Stopwatch) -> None:
        super().__init__(store)
        self._watch = watch

    @contextmanager
    def run(self, name: str, **given: Any) -> Iterator[Run]:
        """See `Tracer.run`."""
        with self._watch.around(super().run(name, **given)) as run:
            _watch_output(run, self._watch)
            yield run

    @contextmanager
    def node(self, name: str, **given: Any) -> Iterator[Step]:
        """See `Tracer.node`."""
        with self._watch.around(super().node(name, **given)) as step:
            _watch_output(step, self._watch)
            yield step

    def put_done(
        self,
        step: Step,
        batch: Sequence[Done],
        error: BaseException | None = None,
        pictures: Iterable[bytes] = (),
    ) -> None:
        """See `Tracer.put_done`."""
        with self._watch.running():
            super().put_done(step, batch, error, pictures)


def _watch_output(step: Step, watch: Stopwatch) -> None:
    record: Callable[[object], None] = step.output

    def output(value: object) -> None:
        with watch.running():
            record(value)

    # Of this step alone: what is measured has no seam for it.
    step.output = output  # type: ignore[method-assign]


class Switched:
    """Passes calls on with the stopwatch running, or standing still."""

    def __init__(self, inner: Calls, watch: Stopwatch, *, on: bool) -> None:
        self._inner = inner
        self._watch = watch
        self._on = on

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._inner.info

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""
        with self._watch.running(self._on):
            return await self._inner.generate(prompts, max_tokens=max_tokens)

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """See `Engine.score_labels`."""
        with self._watch.running(self._on):
            return await self._inner.score_labels(prompts, labels)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`."""
        with self._watch.running(self._on):
            return await self._inner.embed(texts)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What turns took, one after the other."""

    turns: int
    seconds: float
    recording: float
    """Seconds of them in which spans were made, cleaned, packed and written."""
    bytes: int
    """By which the trace file grew."""


def record_turns(deployment: Deployment, traces: TraceStore, users: Sequence[str]) -> Recorded:
    """Recommend to users one by one, recorded into a trace file of their own.

    Args:
        deployment: The home; its tracer is replaced.
        traces: An empty trace file.
        users: The first one warms up and does not count.
    """
    watch = Stopwatch()
    deployment.tracer = WatchedTracer(traces, watch)
    context = deployment.context()
    # Recording is what lies between the node and the cache.
    inner = Switched(deployment.calls.inner, watch, on=False)
    outer = Switched(TracedCalls(inner), watch, on=True)
    srec = Recommender(deployment, replace(context, calls=outer))
    first, *rest = users
    srec.recommend(first)
    watch.seconds, before = 0.0, _size(traces)
    started = time.perf_counter()
    for user in rest:
        srec.recommend(user)
    seconds = time.perf_counter() - started
    return Recorded(len(rest), seconds, watch.seconds, _size(traces) - before)


def measure(shop: Shop) -> list[Figure]:
    """Recommend to 200 users of the sample shop of whom nothing was asked before."""
    home = shop.fresh_home(fused=True)
    with (
        shop.deployment(home) as deployment,
        TraceStore.open(home / "recording.sqlite") as traces,
    ):
        users = users_with(deployment.home.catalogue, LEAST_HISTORY, wanted=TURNS + 1)
        found = record_turns(deployment, traces, users[: TURNS + 1])
    kib = found.bytes / found.turns / 1024
    detail = (
        f"{found.recording:.2f} s of {found.seconds:.1f} s, {found.turns} turns, "
        f"{found.recording / found.turns * 1e3:.1f} ms a turn"
    )
    share = found.recording / found.seconds
    return [
        Figure("recording_share", share, 0.02, at_least=False, detail=detail),
        Figure("recording_kib", kib, 50.0, at_least=False, detail="KiB of trace file a turn"),
    ]


def _size(traces: TraceStore) -> int:
    traces.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    return traces.path.stat().st_size
