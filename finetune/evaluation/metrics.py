"""Measures of a ranking and of a probability, and how sure they are.

A rank is the number of items that stand above the target, 0 for the first place; items with the
same score count half, so that a recommender gains nothing by giving all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
CUTOFFS = (5, 10, 20)
NEGATIVES = 5
"""Unseen items that a target weighs as much as: the mix that probabilities are calibrated to."""
MEASURES = (*(f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in CUTOFFS), "auc")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float


FLIPS = 9_999
"""Times that all signs are drawn for a p-value, of which the smallest is 2 / (FLIPS + 1): the test
is two-sided."""


def target_ranks(scores: NDArray[np.floating], targets: NDArray[np.int64]) -> Floats:
    """Rank of each user's target (U,) among the items with a score.

    Args:
        scores: (U, N); `-inf` for items that are not ranked.
        targets: Column of each user's target (U,).

    Raises:
        ValueError: A score is nan, or a target is not ranked.
    """
    target = scores[np.arange(len(targets)), targets][:, None]
    if np.isnan(scores).any() or np.isneginf(target).any():
        raise ValueError("a score is nan, or a target was left out of the ranking")
    above = (scores > target).sum(axis=1)
    same = (scores == target).sum(axis=1) - 1
    return np.asarray(above + same / 2, np.float64)


def recall_at(ranks: Floats, k: int) -> Floats:
    """1 where the target is among the first k (U,)."""
    return (ranks < k).astype(np.float64)


def ndcg_at(ranks: Floats, k: int) -> Floats:
    """Discounted gain of the one target within the first k (U,); the ideal is 1."""
    return np.where(ranks < k, 1.0 / np.log2(np.minimum(ranks, k) + 2.0), 0.0)


def mrr_at(ranks: Floats, k: int) -> Floats:
    """Reciprocal place of the target within the first k (U,)."""
    return np.where(ranks < k, 1.0 / (np.minimum(ranks, k) + 1.0), 0.0)


def auc_of(ranks: Floats, negatives: NDArray[np.int64]) -> Floats:
    """Share of the other ranked items that stand below the target (U,)."""
    return np.asarray(1.0 - ranks / np.maximum(negatives, 1), np.float64)


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where the targets of U users came out."""

    ranks: Floats
    """(U,); the expected rank for a target that was not found."""
    found: NDArray[np.bool_]
    """Whether the target was among the ranked items (U,); if not, it counts as a miss at every
    cut-off."""
    negatives: NDArray[np.int64]
    """How many other items could have been ranked (U,)."""

    def users(self, measure: str) -> Floats:
        """One measure of every user (U,): `"ndcg@10"`, `"auc"`."""
        name, _, k = measure.partition("@")
        if name == "auc":
            return auc_of(self.ranks, self.negatives)
        by_name = {"recall": recall_at, "ndcg": ndcg_at, "mrr": mrr_at}
        return by_name[name](np.where(self.found, self.ranks, np.inf), int(k))

    def of(self, members: NDArray[np.bool_]) -> "Ranks":
        """The ranks of some of the users."""
        return Ranks(self.ranks[members], self.found[members], self.negatives[members])

    @classmethod
    def joined(cls, parts: Sequence["Ranks"]) -> "Ranks":
        """The ranks of several evaluations, one after the other."""
        return cls(
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.found for part in parts]),
            np.concatenate([part.negatives for part in parts]),
        )

    def means(self) -> dict[str, float]:
        """Mean of every measure over the users."""
        return {name: _mean(self.users(name)) for name in MEASURES}


def bootstrap(
    values: Floats,
    *,
    users: NDArray[np.int64] | None = None,
    seed: int = 0,
    rounds: int = 2_000,
    level: float = 0.95,
) -> Interval:
    """Mean of the cases' values (C,) with a percentile interval, users drawn anew.

    Give the differences of two systems on the same cases for a paired interval.

    Args:
        values: Of each case.
        users: Number of each case's user (C,), whose cases are drawn together; by default every
            case is of another user.
        seed: Of the draws.
        rounds: How many draws.
        level: Of the interval.
    """
    if not len(values):
        return Interval(0.0, 0.0, 0.0)
    rows = _user_rows(values, users)
    sums, counts = np.bincount(rows, weights=values), np.bincount(rows)
    rng = np.random.default_rng(seed)
    means = []
    # One draw at a time: all at once would take rounds x users numbers.
    for _ in range(rounds):
        drawn = rng.integers(0, len(sums), len(sums))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def sign_flip_p(
    differences: Floats,
    *,
    users: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> float:
    """Two-sided p-value of the mean under random sign flips.

    The paired randomisation test (Smucker et al. 2007); 1 without any difference, and for one user,
    whose sign says nothing.

    Args:
        differences: Of two systems on the same cases (C,).
        users: Number of each case's user (C,), whose cases keep one sign; by default every case
            is of another user.
        seed: Of the random signs.
    """
    sums = np.bincount(_user_rows(differences, users), weights=differences)
    if len(sums) < 2 or not sums.any():
        return 1.0
    found = stats.permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=100,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(chances: Sequence[float]) -> list[float]:
    """P-values of several comparisons, adjusted by Holm's method."""
    order = np.argsort(chances, kind="stable")
    steps = np.asarray(chances)[order] * np.arange(len(order), 0, -1)
    raised = np.empty(len(order))
    raised[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(one) for one in raised]


def pair_auc(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, equal scores counting half (P,).

    Raises:
        ValueError: There is no positive, or no negative.
    """
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        raise ValueError(f"{positives} positives of {len(labels)}: the AUC needs both kinds")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle = (ends - counts + 1 + ends) / 2  # Mean rank of each distinct value, from 1.
    total = float(middle[places][labels].sum())
    negatives = len(labels) - positives
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose probabilities are near each other."""

    claimed: float
    """Mean probability."""
    found: float
    """Share of positives."""
    weight: float
    """How many pairs; their weights where they are weighed."""


def reliability(
    probabilities: Floats,
    labels: NDArray[np.bool_],
    *,
    weights: Floats | None = None,
    bins: int = 15,
) -> list[Bin]:
    """Put pairs (P,) into bins of equal width by their probability; empty bins are left out."""
    each = np.ones(len(labels)) if weights is None else weights
    places = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    total = np.bincount(places, weights=each, minlength=bins)
    claimed = np.bincount(places, weights=each * probabilities, minlength=bins)
    found = np.bincount(places, weights=each * labels, minlength=bins)
    return [
        Bin(float(claimed[row] / total[row]), float(found[row] / total[row]), float(total[row]))
        for row in np.flatnonzero(total)
    ]


def mix_weights(labels: NDArray[np.bool_]) -> Floats:
    """Weights of pairs (P,) that make the mix 1 to `NEGATIVES`, however many were drawn."""
    positives = int(labels.sum())
    negatives = max(len(labels) - positives, 1)
    return np.where(labels, 1.0, NEGATIVES * positives / negatives)


def calibration_error(
    probabilities: Floats,
    labels: NDArray[np.bool_],
    *,
    weights: Floats | None = None,
    bins: int = 15,
) -> float:
    """Expected calibration error: mean distance of probability and share of positives (P,)."""
    filled = reliability(probabilities, labels, weights=weights, bins=bins)
    total = sum(one.weight for one in filled)
    return sum(one.weight * abs(one.claimed - one.found) for one in filled) / max(total, 1e-12)


def log_loss(
    probabilities: Floats, labels: NDArray[np.bool_], *, weights: Floats | None = None
) -> float:
    """Mean negative log likelihood of the labels (P,), in nats."""
    likely = np.clip(np.where(labels, probabilities, 1.0 - probabilities), 1e-12, 1.0)
    return float(np.average(-np.log(likely), weights=weights)) if len(labels) else 0.0


def _user_rows(values: Floats, users: NDArray[np.int64] | None) -> NDArray[np.intp]:
    """Running number of each case's user (C,); every case is of another user by default."""
    return np.arange(len(values)) if users is None else np.unique(users, return_inverse=True)[1]


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else 0.0
