import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllm_srec.finetune.evaluation.combine import (
    CombineError,
    Example,
    fit_calibration,
    fit_combination,
)
from mllm_srec.finetune.evaluation.metrics import calibration_error
from mllm_srec.tools.ranking import CombineWeights, combine
from mllm_srec.tools.retrieval import SOURCES, Candidate


def draw_examples(weights: list[float], users: int = 1_500, seed: int = 0) -> list[Example]:
    """Users who choose among 30 candidates by a conditional logit, the weight of the model last."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(users):
        features = rng.normal(size=(30, len(SOURCES)))
        logits = rng.normal(scale=2.0, size=30)
        utility = features @ weights[:-1] + weights[-1] * logits + rng.gumbel(size=30)
        examples.append(Example(features, logits, int(utility.argmax())))
    return examples


def draw_pairs(a: float, b: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    logits = rng.normal(scale=2.0, size=count)
    return logits, rng.random(count) < 1 / (1 + np.exp(-(a * logits + b)))


def test_known_weights_are_found_again() -> None:
    weights = [1.5, 0.3, 0.5, 0.0, -0.8, 0.7]
    fitted = fit_combination(draw_examples(weights), *draw_pairs(1.0, 0.0))
    found = fitted.weights
    values = [getattr(found, source) for source in SOURCES]
    assert values == pytest.approx(weights[:-1], abs=0.15)
    assert found.model * found.calibration.a == pytest.approx(0.7, abs=0.1)
    assert fitted.users == 1_500


def test_the_model_s_score_is_only_worth_something_where_it_says_something() -> None:
    pairs = draw_pairs(1.0, 0.0)
    useful = fit_combination(draw_examples([1, 0, 0, 0, 0, 1.0]), *pairs)
    useless = fit_combination(draw_examples([1, 0, 0, 0, 0, 0.0]), *pairs)
    assert useful.weights.model > 0.5
    assert useful.ndcg_full > useful.ndcg_retrieval + 0.1
    assert useless.weights.model == 0
    assert useless.ndcg_full == pytest.approx(useless.ndcg_retrieval, abs=0.01)


def test_a_gain_within_its_standard_error_gives_the_order_of_retrieval() -> None:
    examples = draw_examples([1, 0.4, 0, 0, 0, 0.15], 60, seed=7)
    fitted = fit_combination(examples, *draw_pairs(1.0, 0.0))
    assert 0 < fitted.ndcg_full - fitted.ndcg_retrieval < fitted.gain_error
    assert fitted.weights.model == 0
    in_order = [getattr(fitted.weights, source) for source in SOURCES]
    assert in_order == [getattr(fitted.weights.retrieval, source) for source in SOURCES]


def test_pairs_that_the_model_gets_wrong_do_not_turn_its_word_round() -> None:
    logits, labels = draw_pairs(-1.0, 0.0)
    assert fit_calibration(logits, labels).a == 0


def test_a_misleading_score_gets_no_weight_rather_than_a_negative_one() -> None:
    fitted = fit_combination(draw_examples([1, 0, 0, 0, 0, -0.5]), *draw_pairs(1.0, 0.0))
    assert fitted.weights.model == 0


def test_a_feature_that_never_differs_gets_no_weight() -> None:
    examples = draw_examples([1, 0, 0, 0, 0, 1], 100)
    for example in examples:
        example.features[:, SOURCES.index("taste")] = 0.0
    fitted = fit_combination(examples, *draw_pairs(1.0, 0.0))
    assert fitted.weights.taste == fitted.weights.retrieval.taste == 0


def test_calibration_finds_the_line_and_mends_the_probabilities() -> None:
    logits, labels = draw_pairs(0.4, -1.0)
    calibration = fit_calibration(logits, labels)
    assert (calibration.a, calibration.b) == pytest.approx((0.4, -1.0), abs=0.05)
    fitted = fit_combination(draw_examples([1, 0, 0, 0, 0, 1], 50), logits, labels)
    assert fitted.ece_after < 0.02 < fitted.ece_before


def test_separable_pairs_still_give_a_finite_line() -> None:
    logits = np.array([-2.0, -1.0, 1.0, 2.0])
    calibration = fit_calibration(logits, logits > 0)
    assert 0 < calibration.a < 100
    assert calibration_error(np.array([0.5]), np.array([True])) == 0.5


def test_too_little_to_fit_on_is_said() -> None:
    with pytest.raises(CombineError, match="evaluate more users"):
        fit_combination([], *draw_pairs(1.0, 0.0))
    with pytest.raises(CombineError, match="both kinds"):
        fit_calibration(np.ones(3), np.ones(3, np.bool_))


def test_a_missed_target_gives_no_example() -> None:
    features = dict.fromkeys(SOURCES, 0.5)
    candidates = [Candidate(item, 1, 0.0, {}, features) for item in "ab"]
    assert Example.of(candidates, np.zeros(2), "c") is None
    example = Example.of(candidates, np.zeros(2), "b")
    assert example is not None
    assert example.target == 1
    assert example.features.shape == (2, len(SOURCES))


@settings(max_examples=15)
@given(st.integers(0, 1_000), st.integers(5, 30))
def test_any_fit_is_finite_usable_and_the_same_again(seed: int, users: int) -> None:
    examples = draw_examples([1, 0.3, 0.1, 0, 0.2, 0.5], users, seed)
    pairs = draw_pairs(0.8, 0.1, 200)
    fitted = fit_combination(examples, *pairs, seed=seed)
    assert fitted == fit_combination(examples, *pairs, seed=seed)
    again = CombineWeights.model_validate_json(fitted.weights.model_dump_json())
    candidates = [
        Candidate(f"i{row:02}", 1, 0.0, {}, dict(zip(SOURCES, values, strict=True)))
        for row, values in enumerate(examples[0].features.tolist())
    ]
    ranked = combine(candidates, examples[0].logits, again)
    assert np.isfinite([one.score for one in ranked]).all()
