"""Many callers, one engine: merged batches, and each gets its own."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from mllm_srec.agent.dispatch import CALLS_AT_ONCE, AsyncEngine
from mllm_srec.llm.engine import Answer, EngineLost, LabelScores, Message, ModelError, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.shop import work_until_stopped

PATIENCE_S = 60


@dataclass
class Held(ScriptedEngine):
    """Keeps each batch; the first waits until it is let go."""

    batches: list[list[str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)
    losses: int = 0

    def _begin(self, batch: list[str]) -> None:
        self.batches.append(batch)
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        if self.losses:
            self.losses -= 1
            raise EngineLost("the engine went away")

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        self._begin([prompt.messages[0].text for prompt in prompts])
        return super().generate(prompts, max_tokens=max_tokens)

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        self._begin([prompt.messages[0].text for prompt in prompts])
        return super().score_labels(prompts, labels)


@pytest.fixture
def engine() -> Iterator[Held]:
    held = Held(answer=lambda prompt: f"re: {prompt.messages[0].text}")
    yield held
    held.go.set()


@pytest.fixture
def front(engine: Held) -> Iterator[AsyncEngine]:
    made = AsyncEngine(engine)
    yield made
    engine.go.set()
    made.close()


def prompts(*names: str) -> list[Prompt]:
    return [Prompt((Message("user", name),)) for name in names]


async def texts(front: AsyncEngine, *names: str, max_tokens: int = 9) -> list[str]:
    answers = await front.generate(prompts(*names), max_tokens=max_tokens)
    return [answer.text for answer in answers]


async def started(engine: Held) -> None:
    """Wait until the engine is at work."""
    assert await asyncio.to_thread(engine.begun.wait, PATIENCE_S)


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_callers_of_one_moment_leave_as_one_batch(engine: Held, front: AsyncEngine) -> None:
    async def work() -> list[list[str]]:
        engine.go.set()
        asked = ["a"], ["b", "c"], ["d"]
        return await asyncio.gather(*(texts(front, *names) for names in asked))

    assert asyncio.run(work()) == [["re: a"], ["re: b", "re: c"], ["re: d"]]
    assert engine.batches == [["a", "b", "c", "d"]]


def test_callers_that_come_while_it_works_are_merged_behind_it(
    engine: Held, front: AsyncEngine
) -> None:
    async def work() -> list[list[str]]:
        first = asyncio.create_task(texts(front, "a"))
        await started(engine)
        later = [asyncio.create_task(texts(front, name)) for name in "bcd"]
        await settled()
        engine.go.set()
        return await asyncio.gather(first, *later)

    assert asyncio.run(work()) == [["re: a"], ["re: b"], ["re: c"], ["re: d"]]
    assert engine.batches == [["a"], ["b", "c", "d"]]


def test_calls_of_other_kinds_and_settings_are_not_mixed(engine: Held, front: AsyncEngine) -> None:
    async def work() -> None:
        engine.go.set()
        await asyncio.gather(
            texts(front, "a"),
            texts(front, "b", max_tokens=1),
            texts(front, "c", max_tokens=2),
            front.score_labels(prompts("d"), ("Yes", "No")),
            front.score_labels(prompts("e"), ("No", "Yes")),
            texts(front, "f"),
        )

    asyncio.run(work())
    assert sorted(engine.batches) == [["a", "f"], ["b"], ["c"], ["d"], ["e"]]


def test_vectors_come_back_to_who_asked(engine: Held, front: AsyncEngine) -> None:
    async def work() -> list[Any]:
        return await asyncio.gather(*map(front.embed, (["red"], ["blue", "green"])))

    red, others = asyncio.run(work())
    np.testing.assert_array_equal(red, engine.embed(["red"]))
    np.testing.assert_array_equal(others, engine.embed(["blue", "green"]))
    assert red.dtype == np.float32


def test_a_prompt_that_is_refused_fails_its_own_caller_alone(
    engine: Held, front: AsyncEngine
) -> None:
    def answer(prompt: Prompt) -> str:
        if prompt.messages[0].text == "long":
            raise ModelError("a prompt does not fit")
        return f"re: {prompt.messages[0].text}"

    async def work() -> list[Any]:
        engine.go.set()
        asked = ["a"], ["b", "long"], ["c"]
        return await asyncio.gather(
            *(texts(front, *names) for names in asked), return_exceptions=True
        )

    engine.answer = answer
    first, refused, third = asyncio.run(work())
    assert (first, third) == (["re: a"], ["re: c"])
    assert isinstance(refused, ModelError)
    assert engine.batches == [["a", "b", "long", "c"], ["a"], ["b", "long"], ["c"]]


def test_an_error_reaches_every_caller_of_the_batch_and_no_other(
    engine: Held, front: AsyncEngine
) -> None:
    async def work() -> list[Any]:
        engine.losses = 1
        lost = [asyncio.create_task(texts(front, name)) for name in "ab"]
        await started(engine)
        after = asyncio.create_task(texts(front, "c"))
        await settled()
        engine.go.set()
        return await asyncio.gather(*lost, after, return_exceptions=True)

    first, second, third = asyncio.run(work())
    assert isinstance(first, EngineLost)
    assert isinstance(second, EngineLost)
    assert third == ["re: c"]


def test_the_front_works_on_after_an_error(engine: Held, front: AsyncEngine) -> None:
    async def work() -> list[str]:
        engine.go.set()
        engine.losses = 1
        with pytest.raises(EngineLost, match="went away"):
            await texts(front, "a")
        return await texts(front, "a")

    assert asyncio.run(work()) == ["re: a"]


def test_who_goes_away_does_not_hurt_the_others(engine: Held, front: AsyncEngine) -> None:
    async def work() -> list[Any]:
        tasks = [asyncio.create_task(texts(front, name)) for name in "abc"]
        await started(engine)
        waiting = [asyncio.create_task(texts(front, name)) for name in "de"]
        await settled()
        tasks[0].cancel()
        waiting[0].cancel()
        await settled()
        engine.go.set()
        return await asyncio.gather(*tasks, *waiting, return_exceptions=True)

    gone, *others = asyncio.run(work())
    assert isinstance(gone, asyncio.CancelledError)
    assert isinstance(others[2], asyncio.CancelledError)
    assert [others[0], others[1], others[3]] == [["re: b"], ["re: c"], ["re: e"]]


def test_the_engine_is_told_to_stop_when_all_who_wait_are_gone() -> None:
    begun, ended = threading.Event(), threading.Event()

    def working(prompt: Prompt) -> str:
        if prompt.messages[0].text == "quick":
            return "done"
        return work_until_stopped(begun, ended)

    async def work() -> list[str]:
        slow = AsyncEngine(ScriptedEngine(answer=working))
        tasks = [asyncio.create_task(texts(slow, name)) for name in "ab"]
        assert await asyncio.to_thread(begun.wait, PATIENCE_S)
        tasks[0].cancel()
        await settled()
        assert not ended.is_set()
        tasks[1].cancel()
        assert await asyncio.to_thread(ended.wait, PATIENCE_S)
        after = await texts(slow, "quick")
        slow.close()
        return after

    assert asyncio.run(work()) == ["done"]


def test_what_nobody_waits_for_any_more_is_not_asked(engine: Held, front: AsyncEngine) -> None:
    async def work() -> list[str]:
        first = asyncio.create_task(texts(front, "a"))
        await started(engine)
        gone = asyncio.create_task(texts(front, "b", max_tokens=1))
        await settled()
        gone.cancel()
        engine.go.set()
        return [*await first, *await texts(front, "c")]

    assert asyncio.run(work()) == ["re: a", "re: c"]
    assert engine.batches == [["a"], ["c"]]


def test_an_engine_that_joins_calls_gets_each_alone_and_at_once(engine: Held) -> None:
    engine.info = replace(engine.info, engine="vllm")
    front = AsyncEngine(engine)

    async def work() -> list[list[str]]:
        asked = [asyncio.create_task(texts(front, name)) for name in "abc"]
        async with asyncio.timeout(PATIENCE_S):
            while len(engine.batches) < len(asked):
                await asyncio.sleep(0.01)
        engine.go.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(work()) == [[f"re: {name}"] for name in "abc"]
    assert sorted(engine.batches) == [["a"], ["b"], ["c"]]
    assert len(engine.threads) == 3
    front.close()


def test_a_call_that_was_given_up_before_a_worker_was_free_is_not_asked(engine: Held) -> None:
    engine.info = replace(engine.info, engine="vllm")
    front = AsyncEngine(engine)

    async def work() -> None:
        asked = [asyncio.create_task(texts(front, "a")) for _ in range(CALLS_AT_ONCE)]
        async with asyncio.timeout(PATIENCE_S):
            while len(engine.batches) < CALLS_AT_ONCE:
                await asyncio.sleep(0.01)
        late = asyncio.create_task(texts(front, "late"))
        await settled()
        late.cancel()
        await settled()
        engine.go.set()
        await asyncio.gather(*asked)
        assert await texts(front, "b") == ["re: b"]

    asyncio.run(work())
    assert ["late"] not in engine.batches
    front.close()


def test_the_engine_is_used_by_one_thread_alone(engine: Held, front: AsyncEngine) -> None:
    async def work() -> None:
        engine.go.set()
        for _ in range(3):
            await asyncio.gather(texts(front, "a"), front.score_labels(prompts("b"), ("Yes", "No")))

    asyncio.run(work())
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads


def test_nothing_asked_is_no_call(engine: Held, front: AsyncEngine) -> None:
    assert asyncio.run(texts(front)) == []
    assert engine.batches == []
