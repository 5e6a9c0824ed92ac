"""Ranking evaluation: every recommender answers the same cases and is counted by the same code.

Protocols: *full* ranks the whole catalogue without what the user has seen; *sampled* ranks the
target among 20 seeded negatives drawn by popularity, for comparison with papers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mllm_srec.finetune.baselines import Scorer
from mllm_srec.finetune.metrics import Floats, Interval, Ranks, bootstrap, target_ranks
from mllm_srec.finetune.splits import Case, Split, find_leaks, sample_cases

RankingProtocol = Literal["full", "sampled"]

NEGATIVES = 20
"""Negatives of the sampled protocol."""
BLOCK = 500
"""Cases scored at once: 500 users x 20,000 items take 80 MB."""
KNOWS_POPULARITY = frozenset({"law", "observer"})
"""Rows that state log p of being picked; q drew the negatives, so log p - log q ranks a pool."""


class LeakError(ValueError):
    """A target can be seen by what is evaluated; the figures would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the recommendation graph made of one case: item ids, best first."""

    full: Sequence[str]
    """After the model's score."""
    retrieval: Sequence[str]
    """The same candidates before it."""


class Ranker(Protocol):
    """The recommendation graph over many cases."""

    def __call__(
        self, cases: Sequence[Case], pools: Sequence[frozenset[str]] | None
    ) -> Sequence[Ranking]:
        """Rank for each case; with pools, only the items of the case's pool are candidates."""
        ...


class Row(BaseModel):
    """One recommender's figures; more than these fields are measures by name (`ndcg@10`)."""

    model_config = ConfigDict(extra="allow")

    name: str
    groups: dict[str, dict[str, float]] = Field(default_factory=dict)
    """The same measures for a part of the cases, with `users`, their number."""


class Report(BaseModel):
    """What `srec evaluate --json` prints."""

    protocol: RankingProtocol
    part: Literal["validation", "test"]
    users: int
    items: int
    score_weight: float | None = None
    """Weight of the model's calibrated logit in the row `full`."""
    rows: list[Row]
    full_minus_retrieval: dict[str, float] | None = None
    """Difference of NDCG@10 with its paired interval over users; None without the graph's rows."""


def evaluate_ranking(
    scorers: Mapping[str, Scorer],
    split: Split,
    *,
    part: Literal["validation", "test"] = "test",
    protocol: RankingProtocol = "full",
    rank: Ranker | None = None,
    users: int | None = None,
    score_weight: float | None = None,
    seed: int = 0,
) -> Report:
    """Rank the cases of one part of a split by every recommender.

    Args:
        scorers: Rows that score the whole catalogue, by name; order of scores as
            `split.item_ids`.
        split: Cases, and the catalogue.
        part: Which cases.
        protocol: Whole catalogue, or pools of 1 + 20.
        rank: The recommendation graph, for the rows `retrieval` and `full`: a target outside its
            candidates is a miss.
        users: Number of cases, drawn by the seed; all by default.
        score_weight: Copied to the report.
        seed: Of the draw, the negatives and the bootstrap.

    Raises:
        LeakError: A target can be seen by what is evaluated.
        ValueError: A recommender gave nan, or not one score an item.
    """
    if leaks := find_leaks(split):
        raise LeakError(f"{len(leaks)} leaks, the first: {leaks[0]}")
    cases = sample_cases(split.cases(part), users, seed=seed)
    pools = draw_pools(split, cases, seed=seed) if protocol == "sampled" else None
    found: dict[str, Ranks] = {}
    if rank is not None:
        found["retrieval"], found["full"] = _ranked(rank, cases, pools, split)
    for name, scorer in scorers.items():
        log_q = popularity_log_q(split) if name in KNOWS_POPULARITY else None
        found[name] = _scored(scorer, cases, pools, split, log_q)
    groups = _groups(cases, split)
    difference = None
    if rank is not None:
        gain = found["full"].users("ndcg@10") - found["retrieval"].users("ndcg@10")
        difference = _difference(bootstrap(gain, seed=seed))
    return Report(
        protocol=protocol,
        part=part,
        users=len(cases),
        items=len(split.item_ids),
        score_weight=score_weight,
        rows=[_row(name, ranks, groups, seed) for name, ranks in found.items()],
        full_minus_retrieval=difference,
    )


def popularity_log_q(split: Split) -> Floats:
    """Log share of each item in the training part (N,), one interaction added to each."""
    counts = dict(split.train["item_id"].value_counts().iter_rows())
    smoothed = np.array([counts.get(item_id, 0) + 1.0 for item_id in split.item_ids])
    return np.asarray(np.log(smoothed / smoothed.sum()))


def draw_pools(split: Split, cases: Sequence[Case], *, seed: int = 0) -> list[tuple[str, ...]]:
    """Draw the pool of each case: its target, then unseen items, distinct, by popularity.

    A pool depends on the seed and the user alone, not on which other users are evaluated.
    """
    log_q = popularity_log_q(split)
    rows = {item_id: row for row, item_id in enumerate(split.item_ids)}
    pools = []
    for case in cases:
        rng = np.random.default_rng([seed, crc32(case.user_id.encode())])
        # The highest of log q + Gumbel noise are a draw by q without putting back.
        keys = log_q + rng.gumbel(size=len(log_q))
        keys[[rows[one.item_id] for one in case.history]] = -np.inf
        keys[rows[case.target]] = -np.inf
        count = min(NEGATIVES, int(np.isfinite(keys).sum()))
        drawn = np.argsort(-keys, kind="stable")[:count].tolist()
        pools.append((case.target, *(split.item_ids[row] for row in drawn)))
    return pools


def _scored(
    scorer: Scorer,
    cases: Sequence[Case],
    pools: Sequence[Sequence[str]] | None,
    split: Split,
    log_q: Floats | None,
) -> Ranks:
    """Rank by the scores of the whole catalogue."""
    rows = {item_id: row for row, item_id in enumerate(split.item_ids)}
    ranks, negatives = np.zeros(len(cases)), np.zeros(len(cases), np.int64)
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
        ranks[place] = target_ranks(np.where(kept, scores, -np.inf), targets)
        negatives[place] = kept.sum(axis=1) - 1
    return Ranks(ranks, np.ones(len(cases), np.bool_), negatives)


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
) -> tuple[Ranks, Ranks]:
    """Rank by the graph: the order before and after the model's score."""
    rankings = rank(cases, None if pools is None else [frozenset(pool) for pool in pools])
    if len(rankings) != len(cases):
        raise ValueError(f"{len(rankings)} rankings for {len(cases)} cases")
    if pools is not None:
        negatives = np.array([len(pool) - 1 for pool in pools], np.int64)
    else:
        seen = [len({one.item_id for one in case.history}) for case in cases]
        negatives = len(split.item_ids) - np.array(seen, np.int64) - 1
    orders = [one.retrieval for one in rankings], [one.full for one in rankings]
    before, after = (_listed(order, cases, negatives) for order in orders)
    return before, after


def _listed(
    orders: Sequence[Sequence[str]], cases: Sequence[Case], negatives: NDArray[np.int64]
) -> Ranks:
    """Rank within lists; a target outside counts as somewhere among all that was not listed."""
    found = np.array([case.target in order for case, order in zip(cases, orders, strict=True)])
    ranks = [
        list(order).index(case.target) if listed else (len(order) + total) / 2
        for case, order, listed, total in zip(cases, orders, found, negatives, strict=True)
    ]
    return Ranks(np.array(ranks, np.float64), found.astype(np.bool_), negatives)


def _groups(cases: Sequence[Case], split: Split) -> dict[str, NDArray[np.bool_]]:
    """Parts of the cases (U,) that are shown apart."""
    cold = np.array([case.cold for case in cases], np.bool_)
    cold_items = split.cold_items
    new = np.array([case.target in cold_items for case in cases], np.bool_)
    return {"warm": ~cold, "cold": cold, "cold_items": new}


def _row(name: str, ranks: Ranks, groups: Mapping[str, NDArray[np.bool_]], seed: int) -> Row:
    interval = bootstrap(ranks.users("ndcg@10"), seed=seed)
    measures = ranks.means() | {"ndcg@10_low": interval.low, "ndcg@10_high": interval.high}
    parts = {
        group: {"users": float(members.sum())} | ranks.of(members).means()
        for group, members in groups.items()
        if members.any()
    }
    return Row.model_validate({"name": name, "groups": parts} | measures)


def _difference(interval: Interval) -> dict[str, float]:
    return {"ndcg@10": interval.mean, "low": interval.low, "high": interval.high}
