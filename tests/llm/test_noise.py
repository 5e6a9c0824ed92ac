from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from mllm_srec.llm.engine import LabelScores, ModelError, Prompt
from mllm_srec.llm.noise import PROMPTS, noise_floor
from mllm_srec.llm.scripted import ScriptedEngine

REAL = replace(ScriptedEngine().info, engine="vllm")


@dataclass
class Noisy(ScriptedEngine):
    """Moves the first label by some nats where a prompt does not go alone and cold."""

    warm: float = 0.0
    batched: float = 0.0
    asked: int = 0

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        scores = super().score_labels(prompts, labels)
        self.asked += 1
        shift = self.batched if len(prompts) > 1 else self.warm * (self.asked > 1)
        return [
            LabelScores({**score.logprobs, "Yes": score.logprobs["Yes"] + shift}, score.usage)
            for score in scores
        ]


@pytest.mark.parametrize(
    ("warm", "batched", "floor"), [(0.0, 0.0, 0.0), (0.02, 0.0, 0.02), (0.02, -0.03, 0.05)]
)
def test_the_floor_is_the_widest_range_of_one_request(
    warm: float, batched: float, floor: float
) -> None:
    engine = Noisy(info=REAL, warm=warm, batched=batched)
    assert noise_floor(engine, ("Yes", "No")) == pytest.approx(floor)


def test_ten_prompts_are_asked_and_no_start_shares_a_cache_with_another() -> None:
    first, second = Noisy(info=REAL), Noisy(info=REAL)
    noise_floor(first, ("Yes", "No"))
    noise_floor(second, ("Yes", "No"))
    assert len(first.scored) == 2 + 2 * PROMPTS
    assert not set(first.scored) & set(second.scored)


def test_an_engine_that_replays_is_not_asked() -> None:
    engine = ScriptedEngine()
    assert noise_floor(engine, ("Yes", "No")) == 0.0
    assert engine.scored == []


def test_a_label_of_several_tokens_is_the_engines_own_error() -> None:
    class Strict(ScriptedEngine):
        def score_labels(
            self, prompts: Sequence[Prompt], labels: Sequence[str]
        ) -> list[LabelScores]:
            raise ModelError("label 'Yes' is not exactly one token")

    with pytest.raises(ModelError, match="one token"):
        noise_floor(Strict(info=REAL), ("Yes", "No"))
