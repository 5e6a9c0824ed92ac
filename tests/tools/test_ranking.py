from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.llm.engine import ModelError
from mllm_srec.tools.ranking import (
    CALIBRATION,
    Calibration,
    CombineWeights,
    combine,
    feature_matrix,
    shipped_calibration,
)
from mllm_srec.tools.retrieval import SOURCES, Candidate


def candidate(item_id: str, followed: float = 0.0, rank: int = 1) -> Candidate:
    features = dict.fromkeys(SOURCES, 0.0) | {"followed": followed}
    return Candidate(item_id, rank, followed, {"followed": followed}, features)


PAIR = [candidate("a", 0.5), candidate("b", 0.4, 2)]


def test_without_the_model_the_retrieval_features_decide() -> None:
    ranked = combine(PAIR, np.full(2, np.nan), CombineWeights())
    assert [one.candidate.item_id for one in ranked] == ["a", "b"]
    assert [one.rank for one in ranked] == [1, 2]
    assert all(one.probability is None for one in ranked)


def test_the_model_can_change_the_order() -> None:
    ranked = combine(PAIR, np.array([-2.0, 2.0]), CombineWeights())
    assert [one.candidate.item_id for one in ranked] == ["b", "a"]
    assert ranked[0].probability == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_the_score_is_the_weighted_sum() -> None:
    weights = CombineWeights(followed=2.0, model=0.5, calibration=Calibration(a=2.0, b=-1.0))
    ranked = combine(PAIR[:1], np.array([3.0]), weights)
    assert ranked[0].score == pytest.approx(2.0 * 0.5 + 0.5 * (2.0 * 3.0 - 1.0))


def test_a_change_of_the_logit_is_told_as_a_change_of_the_score() -> None:
    weights = CombineWeights(model=0.5, calibration=Calibration(a=-2.0, b=0.3))
    low, high = (combine(PAIR[:1], np.array([logit]), weights)[0].score for logit in (1.0, 1.2))
    assert weights.score_change(0.2) == pytest.approx(abs(high - low))


def test_a_candidate_that_the_model_could_not_score_counts_as_an_average_one() -> None:
    three = [*PAIR, candidate("c", 0.45, 3)]
    ranked = combine(three, np.array([4.0, -4.0, np.nan]), CombineWeights())
    assert [one.candidate.item_id for one in ranked] == ["a", "c", "b"]
    assert ranked[1].probability is None


def test_equal_scores_are_ordered_by_item_id() -> None:
    ranked = combine([candidate("b"), candidate("a")], np.zeros(2), CombineWeights())
    assert [one.candidate.item_id for one in ranked] == ["a", "b"]


def test_a_missing_logit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 candidates but logits"):
        combine(PAIR, np.zeros(3), CombineWeights())


def test_no_candidates_give_an_empty_list() -> None:
    assert combine([], np.zeros(0), CombineWeights()) == []
    assert feature_matrix([]).shape == (0, len(SOURCES))


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=8), st.floats(-5, 5))
def test_weights_survive_json_and_rank_every_candidate_once(
    logits: list[float], model: float
) -> None:
    weights = CombineWeights(model=model)
    again = CombineWeights.model_validate_json(weights.model_dump_json())
    many = [candidate(f"i{n}", n / 10) for n in range(len(logits))]
    ranked = combine(many, np.array(logits), again)
    assert again == weights
    assert sorted(one.candidate.item_id for one in ranked) == [one.item_id for one in many]
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)


def test_a_model_without_a_calibration_is_taken_at_its_word(tmp_path: Path) -> None:
    assert shipped_calibration(tmp_path) == Calibration(a=1.0, b=0.0)


def test_a_broken_calibration_is_named(tmp_path: Path) -> None:
    (tmp_path / CALIBRATION).write_text('{"a": "much"}')
    with pytest.raises(ModelError, match=r"calibration.*calibration.json.*delete the file"):
        shipped_calibration(tmp_path)
