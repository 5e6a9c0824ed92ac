"""The table's figures against the plain way of counting."""

import numpy as np
import pytest

from mllm_srec.finetune.ablation.figures import AUC, NDCG, ROUNDS, rows_of
from mllm_srec.finetune.ablation.measure import Measured
from mllm_srec.finetune.evaluation.metrics import bootstrap, pair_auc

USERS = 12


def run(variant: str, seed: int, *, better: float = 0.0, ties: bool = False) -> Measured:
    """Targets that score higher than the others by so much, on average."""
    rng = np.random.default_rng([seed, len(variant)])
    targets, others = rng.normal(better, size=USERS), rng.normal(size=(USERS, 4))
    if ties:
        targets, others = targets.round(), others.round()
    # One user has seen nearly all: fewer are left to be drawn.
    left = [row[: 2 if user == 3 else 4].tolist() for user, row in enumerate(others)]
    return Measured(
        variant=variant,
        seed=seed,
        engine="none",
        steps=10 * seed,
        users=[f"u{user}" for user in range(USERS)],
        ndcg=rng.random(USERS).tolist(),
        retrieval_ndcg=[0.25] * USERS,
        target_logits=targets.tolist(),
        other_logits=left,
        score_weight=seed,
        fallbacks=0.0,
    )


def pooled_auc(one: Measured, times: "list[int] | None" = None) -> float:
    """Over the pairs of users who are drawn so many times."""
    drawn = [user for user, n in enumerate(times or [1] * USERS) for _ in range(n)]
    targets = [one.target_logits[user] for user in drawn]
    others = [score for user in drawn for score in one.other_logits[user]]
    labels = np.array([True] * len(targets) + [False] * len(others))
    return pair_auc(np.array([*targets, *others]), labels)


@pytest.mark.parametrize("ties", [False, True])
def test_the_auc_is_that_of_all_pairs_averaged_over_seeds(ties: bool) -> None:
    runs = [run("full", seed, better=1.0, ties=ties) for seed in (1, 2, 3)]
    [row] = rows_of(runs)
    apart = [pooled_auc(one) for one in runs]
    assert row.figures[AUC].seeds == pytest.approx(apart)
    assert row.figures[AUC].mean == pytest.approx(np.mean(apart))
    assert row.figures[AUC].spread == pytest.approx(np.std(apart, ddof=1))
    assert row.full_minus is None
    assert (row.steps, row.score_weight) == (20, 2)


def test_the_interval_of_the_auc_is_the_bootstrap_over_users() -> None:
    one = run("full", 1, better=1.0, ties=True)
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(0, USERS, USERS), minlength=USERS) for _ in range(ROUNDS)]
    plain = [pooled_auc(one, times.tolist()) for times in draws]
    figure = rows_of([one])[0].figures[AUC]
    assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])))
    assert figure.spread is None


def test_the_difference_to_full_is_paired_by_user_and_by_seed() -> None:
    full = [run("full", seed, better=1.5) for seed in (1, 2)]
    other = [run("no-text", seed) for seed in (2, 1)]
    row, _ = rows_of([*full, *other])
    assert row.full_minus is not None
    gains = [np.subtract(a.ndcg, b.ndcg) for a, b in zip(full, reversed(other), strict=True)]
    assert row.full_minus[NDCG].seeds == pytest.approx([gain.mean() for gain in gains])
    expected = bootstrap(np.mean(gains, axis=0))
    found = row.full_minus[NDCG]
    assert (found.mean, found.low, found.high) == (expected.mean, expected.low, expected.high)
    auc = row.full_minus[AUC]
    assert auc.seeds == pytest.approx(
        [pooled_auc(a) - pooled_auc(b) for a, b in zip(full, reversed(other), strict=True)]
    )
    assert auc.low < auc.mean < auc.high


def test_a_variant_like_full_differs_by_nothing() -> None:
    full = [run("full", seed) for seed in (1, 2)]
    same = [one.model_copy(update={"variant": "no-profile"}) for one in full]
    row = rows_of([*full, *same])[0]
    assert row.name == "no-profile"
    assert row.full_minus is not None
    for figure in row.full_minus.values():
        assert (figure.mean, figure.low, figure.high, figure.spread) == (0, 0, 0, 0)


def test_without_the_full_row_there_is_no_difference() -> None:
    assert [row.full_minus for row in rows_of([run("no-text", 1), run("no-picture", 1)])] == [
        None,
        None,
    ]
