"""Many threads, one engine that computes in steps."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace

import pytest

from mllm_srec.llm.engine import EngineLost, ModelError
from mllm_srec.llm.shared_steps import SharedSteps
from mllm_srec.llm.stopping import Stop, Stopped

PATIENCE_S = 60


@dataclass
class Counting:
    """Counts each request down from its prompt, one a step; one thread at a time may use it."""

    running: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    fullest: int = 0
    aborted: list[str] = field(default_factory=list)
    pause: threading.Event = field(default_factory=threading.Event)
    lost: int = 0
    """Steps that will fail."""
    refusal: Exception = field(default_factory=lambda: ModelError("below 0"))
    used: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.pause.set()

    def add(self, name: str, prompt: int, params: object) -> None:
        with self._alone():
            if prompt < 0:
                raise self.refusal
            self.running[name] = prompt

    def step(self) -> Sequence[SimpleNamespace]:
        with self._alone():
            assert self.pause.wait(PATIENCE_S)
            if self.lost:
                # As vLLM's scheduler does: what a failed step had scheduled never comes again.
                self.lost -= 1
                self.running.clear()
                raise EngineLost("gone")
            self.steps += 1
            self.fullest = max(self.fullest, len(self.running))
            outputs = []
            for name in list(self.running):
                self.running[name] -= 1
                finished = self.running[name] <= 0
                outputs.append(
                    SimpleNamespace(
                        request_id=name, finished=finished, left=max(self.running[name], 0)
                    )
                )
                if finished:
                    del self.running[name]
            return outputs

    def abort(self, names: list[str]) -> None:
        with self._alone():
            self.aborted += names
            for name in names:
                self.running.pop(name, None)

    def _alone(self) -> threading.Lock:
        assert not self.used.locked(), "two threads use the engine"
        return self.used


@pytest.fixture
def engine() -> Counting:
    return Counting()


@pytest.fixture
def steps(engine: Counting) -> SharedSteps:
    return SharedSteps(engine.add, engine.step, engine.abort)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as made:
        yield made


def ask(steps: SharedSteps, *prompts: int, stop: Stop | None = None) -> int:
    """How many outputs a call got."""
    with (stop or Stop()).govern(), steps.calling([(prompt, None) for prompt in prompts]) as call:
        outputs = steps.wait(call)
        assert not call.open
        return len(outputs)


def until(condition: object) -> None:
    for _ in range(PATIENCE_S * 1000):
        if condition():  # type: ignore[operator]
            return
        threading.Event().wait(0.001)
    raise AssertionError("it did not come to pass")


def test_a_call_alone_steps_until_its_last_answer(engine: Counting, steps: SharedSteps) -> None:
    assert ask(steps, 3, 5) == 3 + 5
    assert engine.steps == 5
    assert not engine.aborted


def test_each_of_many_calls_returns_with_its_own(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor
) -> None:
    rng = Random(1)
    wanted = [[rng.randint(1, 40) for _ in range(rng.randint(1, 4))] for _ in range(300)]
    engine.pause.clear()
    answers = pool.map(lambda prompts: ask(steps, *prompts), wanted, timeout=PATIENCE_S)
    until(lambda: len(set(steps._calls.values())) == 32)
    engine.pause.set()
    found = list(answers)
    assert found == [sum(prompts) for prompts in wanted]
    # Together they take fewer steps than one after another.
    assert engine.steps < sum(max(prompts) for prompts in wanted)
    assert engine.fullest > 4
    assert not engine.running
    assert not steps._calls


def test_a_short_call_does_not_wait_for_a_long_one(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor
) -> None:
    engine.pause.clear()
    long = pool.submit(ask, steps, 10**9)
    until(lambda: engine.used.locked())
    short = pool.submit(ask, steps, 2)
    until(lambda: steps._arrived)
    engine.pause.set()
    assert short.result(PATIENCE_S) == 2
    assert not long.done()
    engine.lost = 1
    with pytest.raises(EngineLost):
        long.result(PATIENCE_S)


@pytest.mark.parametrize("refusal", [ModelError("below 0"), TypeError("not a number")])
def test_a_refused_request_takes_the_others_of_its_call_with_it_alone(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor, refusal: Exception
) -> None:
    engine.refusal = refusal
    engine.pause.clear()
    leading = pool.submit(ask, steps, 3)
    until(lambda: engine.used.locked())
    refused, other = pool.submit(ask, steps, 9, -1), pool.submit(ask, steps, 4)
    until(lambda: len(steps._arrived) == 2)
    engine.pause.set()
    with pytest.raises(type(refusal)) as raised:
        refused.result(PATIENCE_S)
    assert raised.value is refusal
    assert (leading.result(PATIENCE_S), other.result(PATIENCE_S)) == (3, 4)
    ask(steps, 1)
    assert not engine.running
    assert len(engine.aborted) == 2


@pytest.mark.parametrize("leads", [True, False])
def test_a_stopped_call_leaves_and_the_others_go_on(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor, *, leads: bool
) -> None:
    stop = Stop()
    engine.pause.clear()
    calls: list[Future[int]] = []
    for stopped in (leads, not leads):
        prompt = 1_000_000 if stopped else 50
        calls.append(pool.submit(ask, steps, prompt, stop=stop if stopped else None))
        until(lambda: engine.used.locked() and len(steps._calls) == len(calls))
    gone, kept = calls if leads else reversed(calls)
    stop.ask()
    engine.pause.set()
    with pytest.raises(Stopped):
        gone.result(PATIENCE_S)
    assert kept.result(PATIENCE_S) == 50
    ask(steps, 1)
    assert not engine.running


def test_a_step_that_fails_once_is_an_error_for_all_who_wait(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor
) -> None:
    calls = [pool.submit(ask, steps, 10**9) for _ in range(8)]
    until(lambda: len(engine.running) == 8)
    engine.lost = 1
    for call in calls:
        with pytest.raises(EngineLost):
            call.result(PATIENCE_S)
    assert ask(steps, 7) == 7


def test_an_engine_that_closes_ends_all_calls_after_the_step_under_way(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor
) -> None:
    engine.pause.clear()
    calls = [pool.submit(ask, steps, 10**9) for _ in range(3)]
    until(lambda: engine.used.locked() and len(steps._calls) == 3)
    closing = pool.submit(steps.close, EngineLost("closed"))
    threading.Event().wait(0.05)
    assert not closing.done()
    engine.pause.set()
    closing.result(PATIENCE_S)
    done = engine.steps
    for call in calls:
        with pytest.raises(EngineLost, match="closed"):
            call.result(PATIENCE_S)
    with pytest.raises(EngineLost, match="closed"):
        ask(steps, 1)
    assert engine.steps == done


def test_a_stream_that_nobody_reads_at_present_is_not_asked_to_lead(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor
) -> None:
    with steps.calling([(10**9, None)], piecewise=True) as stream:
        steps.wait(stream)
        engine.pause.clear()
        leader = pool.submit(ask, steps, 5)
        until(lambda: engine.used.locked())
        # The stream has taken all that there is, and its thread is elsewhere.
        follower = pool.submit(ask, steps, 50)
        until(lambda: len(steps._calls) == 3)
        stream.outputs.clear()
        engine.pause.set()
        assert leader.result(PATIENCE_S) == 5
        assert follower.result(PATIENCE_S) == 50


def test_pieces_come_one_by_one_while_another_leads(
    engine: Counting, steps: SharedSteps, pool: ThreadPoolExecutor
) -> None:
    engine.pause.clear()
    leading = pool.submit(ask, steps, 30)
    until(lambda: engine.used.locked())
    pieces: list[int] = []
    engine.pause.set()
    with steps.calling([(5, None)], piecewise=True) as call:
        while call.open or call.outputs:
            pieces += [output.left for output in steps.wait(call)]
    assert pieces == [4, 3, 2, 1, 0]
    assert leading.result(PATIENCE_S) == 30
