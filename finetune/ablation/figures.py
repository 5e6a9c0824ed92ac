"""Figures of the ablation: means over seeds, with the spread of the seeds and the users' interval.

Two sources of chance are told apart. Training again with another seed moves a figure by its spread;
other users of the same shop would move it within its interval.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from mllm_srec.finetune.ablation.measure import Measured
from mllm_srec.finetune.ablation.variants import FULL, VARIANTS
from mllm_srec.finetune.evaluation.metrics import Floats, Interval, bootstrap

ROUNDS = 2_000
LEVEL = 0.95
AUC, NDCG = "auc", "ndcg@10"


class Figure(BaseModel):
    """A mean over seeds and users."""

    model_config = ConfigDict(frozen=True)

    mean: float
    low: float
    """Of the users' bootstrap interval, the seeds' mean held; `high` likewise."""
    high: float
    seeds: list[float]
    """The figure of each seed."""
    spread: float | None
    """Standard deviation over the seeds; None with one."""


class Row(BaseModel):
    """One variant."""

    name: str
    about: str
    figures: dict[str, Figure]
    """`auc`: chance that a target scores above an unseen item drawn by popularity, over the pairs
    of all users; `ndcg@10`: of the list over the whole catalogue."""
    full_minus: dict[str, Figure] | None
    """The row `full` less this one, user by user and seed by seed; None without that row."""
    retrieval_ndcg: float
    """NDCG@10 of the candidates before the model's score: what is left out may be missed there."""
    score_weight: float
    """Mean over the seeds, as the next two."""
    fallbacks: float
    steps: float


def rows_of(measured: Sequence[Measured]) -> list[Row]:
    """Put all runs of the same users and seeds side by side, in the order of the table."""
    by_variant = {
        name: sorted((one for one in measured if one.variant == name), key=lambda one: one.seed)
        for name in VARIANTS
    }
    full = by_variant[FULL]
    return [_row(name, runs, full) for name, runs in by_variant.items() if runs]


def _row(name: str, runs: Sequence[Measured], full: Sequence[Measured]) -> Row:
    wins, ndcg = _wins(runs), np.array([one.ndcg for one in runs])
    full_minus = None
    if full and name != FULL:
        full_minus = {
            AUC: _auc_figure(_wins(full) - wins, _pairs(runs)),
            NDCG: _user_figure(np.array([one.ndcg for one in full]) - ndcg),
        }
    return Row(
        name=name,
        about=VARIANTS[name].about,
        figures={AUC: _auc_figure(wins, _pairs(runs)), NDCG: _user_figure(ndcg)},
        full_minus=full_minus,
        retrieval_ndcg=float(np.mean([one.retrieval_ndcg for one in runs])),
        score_weight=float(np.mean([one.score_weight for one in runs])),
        fallbacks=float(np.mean([one.fallbacks for one in runs])),
        steps=float(np.mean([one.steps for one in runs])),
    )


def _user_figure(values: Floats) -> Figure:
    """A figure of values by seed and user (S, U)."""
    interval = bootstrap(values.mean(axis=0), rounds=ROUNDS, level=LEVEL)
    return _figure(interval, values.mean(axis=1))


def _wins(runs: Sequence[Measured]) -> Floats:
    """How many of user v's unseen items the target of user u scores above (S, U, U); ties half."""
    return np.stack([_wins_of(one) for one in runs])


def _wins_of(run: Measured) -> Floats:
    targets = np.array(run.target_logits)
    columns = []
    for others in run.other_logits:
        ordered = np.sort(np.array(others))
        below = np.searchsorted(ordered, targets, "left")
        not_above = np.searchsorted(ordered, targets, "right")
        columns.append((below + not_above) / 2)
    return np.stack(columns, axis=1)


def _pairs(runs: Sequence[Measured]) -> Floats:
    """How many unseen items each user has (U,)."""
    return np.array([len(others) for others in runs[0].other_logits], np.float64)


def _auc_figure(wins: Floats, others: Floats) -> Figure:
    """The AUC over the pairs of all users, and what it is when users are drawn anew.

    A user drawn w times has his target w times and his unseen items as often, so that the AUC is
    (w W w) / (sum(w) w.others): no pair needs to be counted again.

    Args:
        wins: By seed, of targets over unseen items (S, U, U), or a difference of two such.
        others: Unseen items of each user (U,).
    """
    count = len(others)
    seeds = wins.sum(axis=(1, 2)) / (count * others.sum())
    mean = wins.mean(axis=0)  # (U, U)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(ROUNDS):
        times = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        drawn.append(times @ mean @ times / (count * (times @ others)))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return _figure(Interval(float(seeds.mean()), float(low), float(high)), seeds)


def _figure(interval: Interval, seeds: Floats) -> Figure:
    return Figure(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        seeds=seeds.tolist(),
        spread=float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
    )
