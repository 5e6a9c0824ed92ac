"""One engine, many callers: what they ask fills its batches."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.tracing.tracer import engine_time
from mllm_srec.llm.engine import (
    Answer,
    Engine,
    EngineInfo,
    EngineLost,
    LabelScores,
    ModelError,
    Prompt,
)
from mllm_srec.llm.stopping import Stop

Key = tuple[Any, ...]

JOINING = {"vllm"}
"""Engines that take many calls at the same time: what arrives joins what is under way between two
tokens, and each call returns when its own last answer is whole."""
CALLS_AT_ONCE = 256
"""Calls that one of them takes."""

Run = Callable[[list[Any]], Sequence[Any]]
Part = tuple[Sequence[Any], asyncio.Future[Sequence[Any]]]
"""Inputs of one caller, and the future that it awaits."""


@dataclass(slots=True)
class _Waiting:
    """What goes to the engine in one call."""

    run: Run
    parts: list[Part]


class AsyncEngine:
    """The asynchronous front of an engine.

    The engine runs in a worker thread. Calls of the same kind and settings that arrive while it is
    busy are merged, so that fifty users' next steps fill one batch; an engine that joins calls
    itself gets each in a thread of its own. A batch that the engine refuses is asked again caller
    by caller, so that each fails by its own prompts alone. When all who wait for a call are gone,
    by Ctrl-C or at a deadline, the engine is told to stop.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._joins = engine.info.engine in JOINING
        self._workers = ThreadPoolExecutor(
            CALLS_AT_ONCE if self._joins else 1, thread_name_prefix="engine"
        )
        self._free = asyncio.Lock()
        self._waiting: dict[Key, _Waiting] = {}
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._engine.info

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""

        def run(inputs: list[Prompt]) -> Sequence[Answer]:
            return self._engine.generate(inputs, max_tokens=max_tokens)

        return list(await self._join(("generate", max_tokens), run, prompts))

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """See `Engine.score_labels`."""

        def run(inputs: list[Prompt]) -> Sequence[LabelScores]:
            return self._engine.score_labels(inputs, labels)

        return list(await self._join(("score_labels", *labels), run, prompts))

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`."""

        def run(inputs: list[str]) -> Sequence[NDArray[np.float32]]:
            return list(self._engine.embed(inputs))

        return np.asarray(await self._join(("embed",), run, texts), dtype=np.float32)

    async def _join(self, key: Key, run: Run, inputs: Sequence[Any]) -> Sequence[Any]:
        if not inputs:
            return []
        future: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()
        part = (inputs, future)
        if self._joins:
            self._start(self._call(run, [part]))
        elif key in self._waiting:
            self._waiting[key].parts.append(part)
        else:
            self._waiting[key] = _Waiting(run, [part])
            self._start(self._serve(key))
        with engine_time():
            return await future

    def _start(self, serving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(serving)
        # The loop alone does not keep a task from being collected.
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, key: Key) -> None:
        """Hand a batch to the engine when it is free; until then, others may join it."""
        # One turn of the loop lets tasks that are ready at the same moment join the first batch.
        await asyncio.sleep(0)
        async with self._free:
            waiting = self._waiting.pop(key)
            parts = [part for part in waiting.parts if not part[1].cancelled()]
            if parts:
                await self._call(waiting.run, parts)

    async def _call(self, run: Run, parts: Sequence[Part]) -> None:
        inputs = [each for part, _ in parts for each in part]
        call = functools.partial(_governed, _stoppable(parts), run, inputs)
        loop = asyncio.get_running_loop()
        try:
            results = iter(await loop.run_in_executor(self._workers, call))
        except asyncio.CancelledError:
            # The loop ends, or `close` let the job go that was still queued.
            for _, future in parts:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed on to every caller of the batch
            refused = isinstance(error, ModelError) and not isinstance(error, EngineLost)
            if refused and len(parts) > 1:
                # The prompt of one caller, too long perhaps: it is no fault of the others.
                for alone in parts:
                    await self._call(run, [alone])
                return
            for _, future in parts:
                if not future.done():
                    future.set_exception(error)
            return
        for part, future in parts:
            mine = list(islice(results, len(part)))
            if not future.done():
                future.set_result(mine)

    def close(self) -> None:
        """Wait for the calls under way, and let the workers go; the owner closes the engine.

        Whoever waits for a call is to be gone by now, which tells the engine to stop.
        """
        self._workers.shutdown(cancel_futures=True)


def _stoppable(parts: Sequence[Part]) -> Stop:
    """What stops the call for these parts, once everyone who waits for it is gone."""
    stop = Stop()

    def left(_: object) -> None:
        if all(future.cancelled() for _, future in parts):
            stop.ask()

    for _, future in parts:
        future.add_done_callback(left)
    return stop


def _governed(stop: Stop, run: Run, inputs: list[Any]) -> Sequence[Any]:
    # It may have waited for a worker until everyone was gone.
    stop.check()
    with stop.govern():
        return run(inputs)
