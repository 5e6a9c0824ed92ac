"""Ranking trials: every recommender answers the same cases and is counted by the same code.

Protocols: *full* ranks the whole catalogue without what the user has seen; *sampled* ranks the
target among 20 seeded negatives drawn by popularity, for comparison with papers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.results import Tokens
from mllm_srec.finetune.data.settings import RankingProtocol, SplitPart
from mllm_srec.finetune.data.splits import Case, Split, find_leaks, sample_cases
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.baselines import Scorer
from mllm_srec.finetune.evaluation.list_measures import LENGTH, Rows
from mllm_srec.finetune.evaluation.metrics import (
    Floats,
    Ranks,
    calibration_error,
    mix_weights,
    target_ranks,
)

NEGATIVES = 20
"""Negatives of the sampled protocol."""
BLOCK = 500
"""Cases scored at once: 500 users x 20,000 items take 80 MB."""
KNOWS_POPULARITY = frozenset({"law", "observer"})
"""Rows that state log p of being picked; q drew the negatives, so log p - log q ranks a pool."""
FULL, RETRIEVAL = "full", "retrieval"
"""The graph's own rows: with the model's score, and the order before it."""


class LeakError(FinetuneError):
    """A target can be seen by what is evaluated; the figures would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the recommendation graph made of one case: item ids, best first."""

    full: Sequence[str]
    """After the model's score."""
    retrieval: Sequence[str]
    """The same candidates before it."""
    seconds: float = 0.0
    """Share of the case in the wall time of all that ran beside it."""
    tokens: Tokens = field(default_factory=Tokens)
    """What the engine was asked."""
    chances: Sequence[float] = ()
    """Calibrated probabilities of the target, then of unseen items drawn by popularity."""


class Ranker(Protocol):
    """The recommendation graph over many cases."""

    def __call__(
        self, cases: Sequence[Case], pools: Sequence[frozenset[str]] | None
    ) -> Sequence[Ranking]:
        """Rank for each case; with pools, only the items of the case's pool are candidates."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one recommender made of the U cases."""

    ranks: Ranks
    lists: Rows
    """The first items of each list (U, LENGTH), rows of the split's catalogue, in any order; -1
    where the list is shorter."""
    extra: Mapping[str, float] = field(default_factory=dict)
    """More figures of the row: what the graph cost, how well its probabilities hold."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One split, the cases asked, and what every recommender made of them."""

    split: Split
    part: SplitPart
    protocol: RankingProtocol
    cases: Sequence[Case]
    outcomes: Mapping[str, Outcome]


def run_trial(
    scorers: Mapping[str, Scorer],
    split: Split,
    *,
    part: SplitPart = "test",
    protocol: RankingProtocol = "full",
    rankers: Mapping[str, Ranker] | None = None,
    users: int | None = None,
    seed: int = 0,
    draw: int = 0,
) -> Trial:
    """Rank the cases of one part of a split by every recommender.

    Args:
        scorers: Rows that score the whole catalogue, by name; order of scores as
            `split.item_ids`.
        split: Cases, and the catalogue.
        part: Which cases.
        protocol: Whole catalogue, or pools of 1 + 20.
        rankers: The recommendation graph by the name of its row; `full` brings the row `retrieval`
            with it. A target outside the graph's candidates is a miss.
        users: Number of cases, drawn by the seed; all by default.
        seed: Of the draw of cases and, with `draw`, of the negatives.
        draw: Another one has other negatives for the same cases.

    Raises:
        LeakError: A target can be seen by what is evaluated.
        ValueError: A recommender gave nan, or not one score an item.
    """
    if leaks := find_leaks(split):
        raise LeakError(f"{len(leaks)} leaks, the first: {leaks[0]}")
    cases = sample_cases(split.cases(part), users, among=split.users, seed=seed)
    pools = draw_pools(split, cases, seed=seed + draw) if protocol == "sampled" else None
    outcomes: dict[str, Outcome] = {}
    for name, rank in (rankers or {}).items():
        before, after = _ranked(rank, cases, pools, split)
        outcomes |= {RETRIEVAL: before, name: after} if name == FULL else {name: after}
    for name, scorer in scorers.items():
        log_q = popularity_log_q(split) if name in KNOWS_POPULARITY else None
        outcomes[name] = _scored(scorer, cases, pools, split, log_q)
    return Trial(split, part, protocol, cases, outcomes)


def popularity_log_q(split: Split) -> Floats:
    """Log share of each item in the training part (N,), one interaction added to each."""
    counts = dict(split.train["item_id"].value_counts().iter_rows())
    smoothed = np.array([counts.get(item_id, 0) + 1.0 for item_id in split.item_ids])
    return np.asarray(np.log(smoothed / smoothed.sum()))


def draw_pools(split: Split, cases: Sequence[Case], *, seed: int = 0) -> list[tuple[str, ...]]:
    """Draw the pool of each case: its target, then unseen items, distinct, by popularity."""
    drawn = draw_unseen(split, cases, NEGATIVES, seed=seed)
    return [
        (case.target, *(split.item_ids[row] for row in rows))
        for case, rows in zip(cases, drawn, strict=True)
    ]


def draw_unseen(
    split: Split, cases: Sequence[Case], count: int, *, seed: int = 0
) -> list[list[int]]:
    """Draw items for each case that are neither target nor history, distinct, by popularity.

    A draw depends on the seed and the user alone, not on which other users are evaluated.

    Returns:
        Rows of `Split.item_ids`, fewer than `count` only where no more are left.
    """
    log_q = popularity_log_q(split)
    rows = {item_id: row for row, item_id in enumerate(split.item_ids)}
    drawn = []
    for case in cases:
        rng = np.random.default_rng([seed, crc32(case.user_id.encode())])
        # The highest of log q + Gumbel noise are a draw by q without putting back.
        keys = log_q + rng.gumbel(size=len(log_q))
        keys[[rows[one.item_id] for one in case.history]] = -np.inf
        keys[rows[case.target]] = -np.inf
        kept = min(count, int(np.isfinite(keys).sum()))
        drawn.append(np.argsort(-keys, kind="stable")[:kept].tolist())
    return drawn


def _scored(
    scorer: Scorer,
    cases: Sequence[Case],
    pools: Sequence[Sequence[str]] | None,
    split: Split,
    log_q: Floats | None,
) -> Outcome:
    """Rank by the scores of the whole catalogue."""
    rows = {item_id: row for row, item_id in enumerate(split.item_ids)}
    ranks, negatives = np.zeros(len(cases)), np.zeros(len(cases), np.int64)
    lists = np.full((len(cases), LENGTH), -1)
    for start in range(0, len(cases), BLOCK):
        block = cases[start : start + BLOCK]
        place = slice(start, start + len(block))
        scores = np.array(scorer.scores([case.history for case in block]))
        if scores.shape != (len(block), len(rows)):
            raise ValueError(
                f"scores {scores.shape} for {len(block)} users and {len(rows)} items: give each "
                "item of the split one score"
            )
        targets = np.array([rows[case.target] for case in block])
        if pools is not None:
            scores = scores if log_q is None else scores - log_q
            kept = _only(pools[place], rows, scores.shape)
        else:
            kept = np.ones(scores.shape, np.bool_)
            for user, case in enumerate(block):
                kept[user, [rows[one.item_id] for one in case.history]] = False
        scores = np.where(kept, scores, -np.inf)
        ranks[place] = target_ranks(scores, targets)
        negatives[place] = kept.sum(axis=1) - 1
        first = _first(scores)
        lists[place, : first.shape[1]] = first
    return Outcome(Ranks(ranks, np.ones(len(cases), np.bool_), negatives), lists)


def _first(scores: NDArray[np.floating]) -> Rows:
    """Rows of the highest scores (U, at most LENGTH), in any order; -1 for items left out."""
    length = min(LENGTH, scores.shape[1])
    best = np.argpartition(-scores, length - 1, axis=1)[:, :length]
    return np.where(np.isneginf(np.take_along_axis(scores, best, axis=1)), -1, best)


def _only(
    pools: Sequence[Sequence[str]], rows: Mapping[str, int], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    kept = np.zeros(shape, np.bool_)
    for user, pool in enumerate(pools):
        kept[user, [rows[item_id] for item_id in pool]] = True
    return kept


def _ranked(
    rank: Ranker,
    cases: Sequence[Case],
    pools: Sequence[Sequence[str]] | None,
    split: Split,
) -> tuple[Outcome, Outcome]:
    """Rank by the graph: the order before and after the model's score."""
    rankings = rank(cases, None if pools is None else [frozenset(pool) for pool in pools])
    if len(rankings) != len(cases):
        raise ValueError(f"{len(rankings)} rankings for {len(cases)} cases")
    if pools is not None:
        negatives = np.array([len(pool) - 1 for pool in pools], np.int64)
    else:
        seen = [len({one.item_id for one in case.history}) for case in cases]
        negatives = len(split.item_ids) - np.array(seen, np.int64) - 1
    rows = {item_id: row for row, item_id in enumerate(split.item_ids)}
    before = _listed([one.retrieval for one in rankings], cases, negatives, rows)
    after = _listed([one.full for one in rankings], cases, negatives, rows)
    return before, Outcome(after.ranks, after.lists, _costs(rankings))


def _listed(
    orders: Sequence[Sequence[str]],
    cases: Sequence[Case],
    negatives: NDArray[np.int64],
    rows: Mapping[str, int],
) -> Outcome:
    """Rank within lists; a target outside counts as somewhere among all that was not listed."""
    found = np.array([case.target in order for case, order in zip(cases, orders, strict=True)])
    ranks = [
        list(order).index(case.target) if listed else (len(order) + total) / 2
        for case, order, listed, total in zip(cases, orders, found, negatives, strict=True)
    ]
    lists = np.full((len(cases), LENGTH), -1)
    for user, order in enumerate(orders):
        first = [rows[item_id] for item_id in order[:LENGTH]]
        lists[user, : len(first)] = first
    return Outcome(Ranks(np.array(ranks, np.float64), found.astype(np.bool_), negatives), lists)


def _costs(rankings: Sequence[Ranking]) -> dict[str, float]:
    """What a user cost on average, and how far the probabilities are off."""
    users = max(len(rankings), 1)
    spent = sum((one.tokens for one in rankings), Tokens())
    figures = {
        "seconds_per_user": sum(one.seconds for one in rankings) / users,
        "calls_per_user": spent.calls / users,
        "stored_per_user": spent.stored / users,
        "prompt_tokens_per_user": spent.prompt / users,
        "completion_tokens_per_user": spent.completion / users,
    }
    chances = np.array([chance for one in rankings for chance in one.chances])
    labels = np.array(
        [place == 0 for one in rankings for place in range(len(one.chances))], np.bool_
    )
    # Of targets alone every probability below 1 would count as wrong.
    if not labels.all():
        figures["ece"] = calibration_error(chances, labels, weights=mix_weights(labels))
    return figures
