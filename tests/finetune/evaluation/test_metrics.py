import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mllm_srec.finetune.evaluation.metrics import (
    FLIPS,
    Ranks,
    auc_of,
    bootstrap,
    calibration_error,
    holm,
    log_loss,
    mrr_at,
    ndcg_at,
    pair_auc,
    recall_at,
    reliability,
    sign_flip_p,
    target_ranks,
)

RANKS = np.array([0.0, 2.0, 9.0, 10.0])


def test_measures_agree_with_values_worked_out_by_hand() -> None:
    assert recall_at(RANKS, 10).tolist() == [1, 1, 1, 0]
    assert ndcg_at(RANKS, 10) == pytest.approx([1, 1 / 2, 1 / np.log2(11), 0])
    assert mrr_at(RANKS, 5) == pytest.approx([1, 1 / 3, 0, 0])
    assert auc_of(RANKS, np.array([10, 10, 10, 10])) == pytest.approx([1, 0.8, 0.1, 0])


def test_a_rank_counts_what_stands_above_and_half_of_what_is_equal() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.5], [-np.inf, 0.2, 0.2, 0.2]])
    assert target_ranks(scores, np.array([2, 1])).tolist() == [1.5, 1.0]


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        target_ranks(np.array([[0.1, np.nan]]), np.array([0]))
    with pytest.raises(ValueError, match="left out"):
        target_ranks(np.array([[-np.inf, 0.5]]), np.array([0]))


def test_a_target_that_was_not_found_misses_every_cutoff() -> None:
    ranks = Ranks(np.array([0.0, 3.0]), np.array([True, False]), np.array([20, 20]))
    means = ranks.means()
    assert means["recall@20"] == means["mrr@5"] == 0.5
    assert means["auc"] == pytest.approx((1 + 17 / 20) / 2)
    assert ranks.of(np.array([True, False])).means()["ndcg@10"] == 1


def test_no_users_give_zeros() -> None:
    none = Ranks(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64))
    assert set(none.means().values()) == {0.0}
    assert bootstrap(np.zeros(0)).mean == 0
    assert calibration_error(np.zeros(0), np.zeros(0, np.bool_)) == 0


def test_the_bootstrap_interval_is_seeded_and_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(1.0, 1.0, 400)
    interval = bootstrap(values, seed=3)
    assert interval == bootstrap(values, seed=3)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval.low < values.mean() < interval.high


def test_a_user_s_cases_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(1.0, 1.0, 100), 4)
    users = np.repeat(np.arange(100), 4)
    together, alone = bootstrap(values, users=users), bootstrap(values)
    assert together.mean == alone.mean
    assert together.high - together.low == pytest.approx(2 * (alone.high - alone.low), rel=0.15)


def test_the_sign_flip_test_agrees_with_counting_all_signs() -> None:
    # Of the 2 ** 5 signs, 2 reach a sum as far from 0 as that of five equal gains.
    assert sign_flip_p(np.ones(5)) == pytest.approx(2 / 32)
    assert sign_flip_p(np.zeros(5)) == 1
    assert sign_flip_p(np.ones(1)) == 1
    assert sign_flip_p(np.ones(3), users=np.zeros(3, np.int64)) == 1
    noise = np.random.default_rng(0).normal(0.0, 1.0, 500)
    assert sign_flip_p(noise - noise.mean()) > 0.9
    # The least that drawn signs can say, in both directions.
    assert sign_flip_p(noise + 0.5) == sign_flip_p(noise + 0.5, seed=0) == 2 / (FLIPS + 1)


def test_cases_of_one_user_keep_one_sign() -> None:
    gains = np.repeat([1.0, 1.0, 1.0], 4)
    assert sign_flip_p(gains, users=np.repeat([0, 1, 2], 4)) == pytest.approx(2 / 8)


def test_holm_agrees_with_values_worked_out_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_pair_auc_agrees_with_values_worked_out_by_hand() -> None:
    labels = np.array([True, True, False, False])
    assert pair_auc(np.array([4.0, 2.0, 3.0, 1.0]), labels) == 0.75
    assert pair_auc(np.array([1.0, 1.0, 1.0, 1.0]), labels) == 0.5
    with pytest.raises(ValueError, match="both kinds"):
        pair_auc(np.ones(2), np.array([True, True]))


def test_calibration_error_agrees_with_a_value_worked_out_by_hand() -> None:
    probabilities = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    labels = np.array([True, True, True, False, False, True])
    # |.9 - .75| on four of six, |.1 - .5| on two of six.
    assert calibration_error(probabilities, labels) == pytest.approx(0.15 * 4 / 6 + 0.4 * 2 / 6)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0


Scores = NDArray[np.float64]
scores_of = hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-5, 5))


@given(scores_of, st.data())
def test_the_rank_s_auc_is_the_pair_auc_of_one_positive(
    scores: Scores, data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    labels = np.arange(len(scores)) == target
    ranks = target_ranks(scores[None], np.array([target]))
    auc = auc_of(ranks, np.array([len(scores) - 1]))
    assert auc[0] == pytest.approx(pair_auc(scores, labels))


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(0, 100).map(float)))
def test_longer_lists_never_lose_and_recall_is_the_highest(ranks: Scores) -> None:
    for measure in (recall_at, ndcg_at, mrr_at):
        at_5, at_10 = measure(ranks, 5), measure(ranks, 10)
        assert (at_5 <= at_10).all()
        assert ((at_5 >= 0) & (at_10 <= 1)).all()
    assert (mrr_at(ranks, 10) <= ndcg_at(ranks, 10)).all()
    assert (ndcg_at(ranks, 10) <= recall_at(ranks, 10)).all()


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)), st.data())
def test_calibration_error_lies_between_the_overall_gap_and_one(
    probabilities: Scores, data: st.DataObject
) -> None:
    labels = data.draw(hnp.arrays(np.bool_, len(probabilities)))
    error = calibration_error(probabilities, labels)
    assert abs(probabilities.mean() - labels.mean()) - 1e-9 <= error <= 1 + 1e-9


def test_weights_put_the_mix_right_however_many_negatives_were_drawn() -> None:
    probabilities = np.array([0.5, 0.5, 0.5, 0.5])
    labels = np.array([True, False, False, False])
    weights = np.array([1.0, 1 / 3, 1 / 3, 1 / 3])
    assert calibration_error(probabilities, labels) == pytest.approx(0.25)
    assert calibration_error(probabilities, labels, weights=weights) == pytest.approx(0)
    [one] = reliability(probabilities, labels, weights=weights)
    assert (one.claimed, one.found, one.weight) == pytest.approx((0.5, 0.5, 2))


def test_log_loss_agrees_with_a_value_worked_out_by_hand() -> None:
    found = log_loss(np.array([0.8, 0.4]), np.array([True, False]))
    assert found == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert np.isfinite(log_loss(np.array([0.0]), np.array([True])))
