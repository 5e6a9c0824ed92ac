"""Measures of a ranking and of a probability, and how sure they are.

A rank is the number of items that stand above the target, 0 for the first place; items with the
same score count half, so that a recommender gains nothing by giving all the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CUTOFFS = (5, 10, 20)
MEASURES = (*(f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in CUTOFFS), "auc")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float


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
    """Whether the target was among the ranked items (U,); not so, every cut-off misses it."""
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

    def means(self) -> dict[str, float]:
        """Mean of every measure over the users."""
        return {name: _mean(self.users(name)) for name in MEASURES}


def bootstrap(
    values: Floats, *, seed: int = 0, rounds: int = 2_000, level: float = 0.95
) -> Interval:
    """Mean of the users' values (U,) with a percentile interval, users drawn anew.

    Give the differences of two systems on the same users for a paired interval.
    """
    if not len(values):
        return Interval(0.0, 0.0, 0.0)
    rng = np.random.default_rng(seed)
    # One draw at a time: all at once would take rounds x users numbers.
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(rounds)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


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


def calibration_error(probabilities: Floats, labels: NDArray[np.bool_], *, bins: int = 15) -> float:
    """Expected calibration error: mean distance of probability and share of positives (P,)."""
    if not len(labels):
        return 0.0
    places = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    claimed = np.bincount(places, weights=probabilities, minlength=bins)
    found = np.bincount(places, weights=labels.astype(np.float64), minlength=bins)
    return float(np.abs(claimed - found).sum() / len(labels))


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else 0.0
