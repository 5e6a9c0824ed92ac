"""How long a request waited, was read and was answered: what vLLM says of it, and nothing else."""

import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from mllm_srec.llm.engine import Answer, Engine, Message, Prompt, Usage
from mllm_srec.llm.recorded import RecordedEngine, RecordingEngine
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.llm.vllm_engine import _phases

PROMPTS = [Prompt((Message("user", f"What is number {number}?"),)) for number in range(4)]


@pytest.mark.parametrize(
    ("moments", "wanted"),
    [
        ((5.0, 5.25, 6.0, 8.0), (0.25, 0.75, 2.0)),
        # vLLM leaves what did not happen at zero: nothing can be said of it.
        ((5.0, 5.25, 0.0, 0.0), (0.25, None, None)),
        ((0.0, 0.0, 0.0, 0.0), (None, None, None)),
    ],
)
def test_phases_lie_between_the_moments_that_vllm_tells(
    moments: tuple[float, ...], wanted: tuple[float | None, ...]
) -> None:
    names = ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
    assert _phases(SimpleNamespace(**dict(zip(names, moments, strict=True)))) == wanted


def test_without_statistics_nothing_is_said() -> None:
    assert _phases(None) == (None, None, None)


def test_vllm_tells_the_phases_of_every_request(vllm_engine: Engine) -> None:
    started = time.perf_counter()
    answers = vllm_engine.generate(PROMPTS, max_tokens=8)
    scores = vllm_engine.score_labels(PROMPTS, ("Yes", "No"))
    wall = time.perf_counter() - started
    for usage in [*(each.usage for each in answers), *(each.usage for each in scores)]:
        phases = (usage.queue_s, usage.prefill_s, usage.decode_s)
        assert all(each is not None and each >= 0.0 for each in phases)
        assert 0.0 < sum(each or 0.0 for each in phases) <= wall
    assert all((answer.usage.decode_s or 0.0) > 0.0 for answer in answers)


class Timed(ScriptedEngine):
    """Tells that it took a second to answer."""

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        return [Answer("red", Usage(3, 1, decode_s=1.0), True) for _ in prompts]


def test_a_replay_does_not_take_the_time_of_the_recording() -> None:
    store: dict[str, str] = {}
    recorder = RecordingEngine(Timed(), store)
    assert recorder.generate(PROMPTS, max_tokens=8)[0].usage.decode_s == 1.0
    replayed = RecordedEngine(store, recorder.info).generate(PROMPTS, max_tokens=8)
    assert {answer.usage.decode_s for answer in replayed} == {None}
