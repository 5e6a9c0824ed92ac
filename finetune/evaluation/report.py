"""The report of `srec evaluate`: trials, one a shuffle or draw of negatives, as rows of figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mllm_srec.finetune.data.settings import DayOrder, RankingProtocol, SplitBy, SplitPart
from mllm_srec.finetune.evaluation.evaluate import (
    FULL,
    RETRIEVAL,
    Outcome,
    Trial,
)
from mllm_srec.finetune.evaluation.list_measures import ItemFacts, Rows, list_figures
from mllm_srec.finetune.evaluation.metrics import Interval, Ranks, bootstrap, sign_flip_p
from mllm_srec.store.records import FusedItem

WITH_INTERVAL = ("recall@10", "ndcg@10")
"""Measures that are shown with a bootstrap interval over users: NAME_low and NAME_high."""


class Row(BaseModel):
    """One recommender's figures; more than these fields are figures by name (`ndcg@10`)."""

    model_config = ConfigDict(extra="allow")

    name: str
    groups: dict[str, dict[str, float]] = Field(default_factory=dict)
    """The same measures for a part of the cases, with `users`, their number."""
    spread: dict[str, float] = Field(default_factory=dict)
    """Standard deviation of each measure over the shuffles of the days and the draws of negatives;
    empty with one of each."""
    full_minus: dict[str, float] | None = None
    """NDCG@10 of the row `full` less this one's, with its paired interval over users, and `p`, the
    chance of such a difference by sign alone."""

    @property
    def figures(self) -> dict[str, float]:
        """The figures by name."""
        return dict(self.model_extra or {})


class Report(BaseModel):
    """What `srec evaluate --json` prints."""

    protocol: RankingProtocol
    part: SplitPart
    split_by: SplitBy = "user"
    day_order: DayOrder = "published"
    targets: int = 1
    """Successive test targets of a user at most."""
    min_rating: float | None = None
    """Lowest rating that is a like."""
    seed: int = 0
    """Of the users who are asked, the negatives, the orders inside the days and the bootstrap."""
    users: int
    cases: int
    """Targets asked for; more than users where a user has several."""
    items: int
    shuffles: int = 1
    """Orders inside the days that the figures are means over."""
    draws: int = 1
    """Draws of each user's negatives that the figures are means over; 1 where all are ranked."""
    score_weight: float | None = None
    """Weight of the model's calibrated logit in the row `full`."""
    engine: str | None = None
    model: str | None = None
    model_hash: str | None = None
    rows: list[Row]
    full_minus_retrieval: dict[str, float] | None = None
    """Difference of NDCG@10 with its paired interval over users; None without the graph's rows."""
    validation: dict[str, float] = Field(default_factory=dict)
    """NDCG@10 of each baseline on validation; empty where none was asked."""
    baseline: str | None = None
    """The row that is best on validation: the one to beat, chosen without a look at the test."""
    notes: list[str] = Field(default_factory=list)
    """What a reader has to know to read the figures."""

    @property
    def means(self) -> str:
        """What the figures are means of besides users, as the end of a line; empty for nothing."""
        parts = [f"{self.shuffles} shuffles"] if self.shuffles > 1 else []
        parts += [f"{self.draws} draws of negatives"] if self.draws > 1 else []
        return f", mean of {' and '.join(parts)}" if parts else ""


def summarize(
    trials: Sequence[Trial],
    *,
    validation: Sequence[Trial] = (),
    draws: int = 1,
    fused: Mapping[str, FusedItem] | None = None,
    seed: int = 0,
    **about: Any,
) -> Report:
    """Put trials side by side: each figure is the mean over all of their cases.

    Args:
        trials: Over the same catalogue, with the same rows.
        validation: The validation part of the same splits, asked of the baselines.
        draws: How many of the trials, one after another, differ in the negatives alone.
        fused: Descriptions of the items, for the measures of lists that need them.
        seed: Of the bootstrap.
        about: More fields of the report.
    """
    first = trials[0]
    users = _user_numbers(trials)
    groups = _groups(trials)
    joined = {
        name: Ranks.joined([trial.outcomes[name].ranks for trial in trials])
        for name in first.outcomes
    }
    # In a pool of 21 the lists are the protocol's, not the recommender's.
    listed = [
        _ListMeasures.of(trial, fused or {}) if trial.protocol == "full" else None
        for trial in trials
    ]
    rows = []
    for name in first.outcomes:
        outcomes = [trial.outcomes[name] for trial in trials]
        apart = [_trial_figures(*each) for each in zip(outcomes, listed, strict=True)]
        # What the first draw asked the model is kept: only it says what a user costs.
        firsts = apart[::draws]
        beyond = {key: float(np.mean([one[key] for one in firsts])) for key in firsts[0]}
        rows.append(_row(name, joined, beyond, apart, groups, users, seed=seed))
    by_name = {row.name: row for row in rows}
    chosen_on = _validated(validation)
    return Report(
        protocol=first.protocol,
        part=first.part,
        users=len(np.unique(users)),
        cases=len(first.cases),
        items=len(first.split.item_ids),
        shuffles=len(trials) // draws,
        draws=draws,
        seed=seed,
        rows=rows,
        full_minus_retrieval=by_name[RETRIEVAL].full_minus if RETRIEVAL in by_name else None,
        validation=chosen_on,
        baseline=max(chosen_on, key=chosen_on.__getitem__) if chosen_on else None,
        **about,
    )


def _validated(trials: Sequence[Trial]) -> dict[str, float]:
    """NDCG@10 of each row on validation, all cases of all trials alike."""
    names = trials[0].outcomes if trials else ()
    parts = {name: [trial.outcomes[name].ranks for trial in trials] for name in names}
    return {
        name: float(Ranks.joined(part).users("ndcg@10").mean())
        for name, part in parts.items()
        if sum(len(one.ranks) for one in part)
    }


@dataclass(frozen=True, slots=True)
class _ListMeasures:
    """What the measures of lists need to know of one trial."""

    facts: ItemFacts
    histories: Sequence[Rows]

    @classmethod
    def of(cls, trial: Trial, fused: Mapping[str, FusedItem]) -> "_ListMeasures":
        rows = {item_id: row for row, item_id in enumerate(trial.split.item_ids)}
        histories = [
            np.array([rows[one.item_id] for one in case.history], np.int64) for case in trial.cases
        ]
        return cls(ItemFacts.of(trial.split, fused), histories)


def _trial_figures(outcome: Outcome, lists: _ListMeasures | None) -> dict[str, float]:
    """The figures of one recommender in one trial."""
    beyond = list_figures(outcome.lists, lists.histories, lists.facts) if lists else {}
    return outcome.ranks.means() | beyond | dict(outcome.extra)


def _user_numbers(trials: Sequence[Trial]) -> NDArray[np.int64]:
    """The number of each case's user (C,), the same in all trials."""
    numbers: dict[str, int] = {}
    cases = [case for trial in trials for case in trial.cases]
    return np.array([numbers.setdefault(case.user_id, len(numbers)) for case in cases], np.int64)


def _groups(trials: Sequence[Trial]) -> dict[str, NDArray[np.bool_]]:
    """Parts of the cases (C,) that are shown apart."""
    cold = np.array([case.cold for trial in trials for case in trial.cases], np.bool_)
    new = [
        case.target in cold_items
        for trial in trials
        for cold_items in [trial.split.cold_items]
        for case in trial.cases
    ]
    new_items = np.array(new, np.bool_)
    return {"warm": ~cold, "cold": cold, "warm_items": ~new_items, "cold_items": new_items}


def _row(
    name: str,
    joined: Mapping[str, Ranks],
    beyond: Mapping[str, float],
    apart: Sequence[Mapping[str, float]],
    groups: Mapping[str, NDArray[np.bool_]],
    users: NDArray[np.int64],
    *,
    seed: int,
) -> Row:
    ranks = joined[name]
    figures = {**beyond, **ranks.means()}
    for measure in WITH_INTERVAL:
        figures |= _named(measure, bootstrap(ranks.users(measure), users=users, seed=seed))
    parts = {
        group: _part(ranks.of(members), users[members], seed)
        for group, members in groups.items()
        if members.any()
    }
    row = Row.model_validate({"name": name, "groups": parts} | figures)
    if len(apart) > 1:
        row.spread = {key: float(np.std([one[key] for one in apart], ddof=1)) for key in apart[0]}
    if FULL in joined and name != FULL:
        gain = joined[FULL].users("ndcg@10") - ranks.users("ndcg@10")
        difference = bootstrap(gain, users=users, seed=seed)
        row.full_minus = {
            "ndcg@10": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "p": sign_flip_p(gain, users=users, seed=seed),
        }
    return row


def _part(ranks: Ranks, users: NDArray[np.int64], seed: int) -> dict[str, float]:
    interval = bootstrap(ranks.users("ndcg@10"), users=users, seed=seed)
    return {"users": float(len(np.unique(users)))} | ranks.means() | _named("ndcg@10", interval)


def _named(measure: str, interval: Interval) -> dict[str, float]:
    return {f"{measure}_low": interval.low, f"{measure}_high": interval.high}
