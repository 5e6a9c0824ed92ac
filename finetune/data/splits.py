"""What is fitted and what is asked: training part, validation cases, test cases.

Targets are a user's last two likes: the last is test, the one before validation; of a small log,
several successive ones are test. A like is an interaction rated at or above the threshold, or
without a rating, with an item that the user had not met before (seen items are never recommended,
so a repetition could only be missed).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby, islice
from math import inf
from operator import itemgetter
from typing import Literal

import numpy as np
import polars as pl

from mllm_srec.finetune.data.settings import DayOrder, SplitBy
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.store.home import Home
from mllm_srec.store.records import DAY_S, Interaction
from mllm_srec.tools.likes import is_like, liked_rows

COLD = 3
"""Most training interactions of a cold user."""
CUTS = (0.8, 0.9)
"""Shares of all interactions before the first and before the second cut of a time split."""


class SplitError(FinetuneError):
    """The log cannot be split this way; the message names the way out."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a recommender: what came next?"""

    user_id: str
    target: str
    position: int
    """Position of the target: the history is everything before it."""
    time: int | None
    """When the user came back, seconds since 1970 UTC; None where the log has no times."""
    history: tuple[Interaction, ...]
    """In time order, low ratings included."""
    training: int
    """Interactions of the user in the training part."""

    @property
    def cold(self) -> bool:
        """Whether little was known of the user when the models were fitted."""
        return self.training <= COLD


@dataclass(frozen=True)
class Split:
    """The training part, and the cases to tune on and to report."""

    train: pl.DataFrame
    """What models may be fitted on: user_id, item_id, position, rating, timestamp."""
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    item_ids: tuple[str, ...]
    """The catalogue that is ranked; the order of every score array."""
    users: tuple[str, ...]
    """Everybody in the log, also those without a case."""
    cut: float | None = None
    """Time before which all of the training part lies, whoever did it; None without such a time."""

    @property
    def cold_items(self) -> frozenset[str]:
        """Items without any interaction in the training part."""
        return frozenset(self.item_ids) - frozenset(self.train["item_id"])

    @cached_property
    def _first_seen(self) -> Mapping[str, int]:
        """When the training part first names each item; empty where interactions lack a time."""
        if self.train["timestamp"].null_count():
            return {}
        return dict(self.train.group_by("item_id").agg(pl.col("timestamp").min()).iter_rows())

    def knew(self, item_id: str, case: Case) -> bool:
        """Whether the training part named an item by the time of a case.

        Of a split by user it goes on beyond that time, with others. Without times it may have.
        """
        if case.time is None or not self._first_seen:
            return True
        return self._first_seen.get(item_id, inf) <= case.time

    def liked(self, min_rating: float | None) -> pl.DataFrame:
        """The likes of the training part."""
        return liked_rows(self.train, min_rating)

    def cases(self, part: Literal["validation", "test"]) -> tuple[Case, ...]:
        """The cases of one part."""
        return self.validation if part == "validation" else self.test


def split_home(
    home: Home,
    *,
    min_rating: float | None,
    split_by: SplitBy = "user",
    day_order: DayOrder = "published",
    targets: int = 1,
    seed: int = 1,
) -> Split:
    """Split the log of a home into what is fitted and what is asked.

    Raises:
        SplitError: The log has no times where they are needed, or a time split has several targets.
    """
    frame, item_ids = home.catalogue.interactions_frame(), home.catalogue.item_ids()
    if day_order == "shuffled":
        frame = shuffle_days(frame, seed=seed)
    if split_by == "user":
        return split_by_user(frame, item_ids, min_rating=min_rating, targets=targets)
    if targets > 1:
        raise SplitError(f"targets is {targets}: a time split asks each user once, split by user")
    return split_by_time(frame, item_ids, min_rating=min_rating)


def require_cases(split: Split, part: Literal["validation", "test"]) -> None:
    """Refuse a part without cases: its figures would be zeros.

    Raises:
        SplitError: It has no case.
    """
    if not split.cases(part):
        raise SplitError(
            f"the {part} part has no case: nobody has likes enough behind a first interaction; "
            "split otherwise, take a lower rating for a like, or ingest more interactions"
        )


def split_by_user(
    frame: pl.DataFrame,
    item_ids: Sequence[str],
    *,
    min_rating: float | None = None,
    targets: int = 1,
) -> Split:
    """Hold out each user's last likes: up to `targets` for test, the one before for validation.

    Users without two likes after their first interaction give no case; all they did is training.
    Who has fewer likes than are wanted gives fewer targets.

    Args:
        frame: Columns user_id, item_id, position; rating and timestamp where there are any.
        item_ids: The catalogue; interactions with other items are left out.
        min_rating: Lowest rating that is a like; None takes every interaction as one.
        targets: Successive test targets of a user at most; several narrow a small log's intervals.

    Raises:
        SplitError: `targets` is not positive.
    """
    if targets < 1:
        raise SplitError(f"targets is {targets}: hold out at least one like a user")
    log = _ordered(frame, item_ids)
    train: list[Interaction] = []
    validation, test = list[Case](), list[Case]()
    for history in _histories(log):
        likes = [place for place in _first_likes(history, min_rating) if place > 0]
        if len(likes) < 2:
            train.extend(history)
            continue
        held = min(targets, len(likes) - 1)
        before = likes[-held - 1]
        train.extend(history[:before])
        validation.append(_case(history, before, before))
        test.extend(_case(history, place, before) for place in likes[-held:])
    return Split(_frame(train), tuple(validation), tuple(test), tuple(item_ids), _users(log))


def split_by_time(
    frame: pl.DataFrame,
    item_ids: Sequence[str],
    *,
    min_rating: float | None = None,
) -> Split:
    """Cut the whole log at two times, so that no other user's future is in the training part.

    Training is what a user did before anything at or after the first cut. The last like between the
    cuts is a validation target, the last one after the second cut a test target; a history is
    everything before its target. Where the order of a history and its times disagree, as inside a
    shuffled day, what stands behind a later time counts as later itself. Users without any history
    give no case.

    Args:
        frame: As for `split_by_user`, with timestamps.
        item_ids: The catalogue; interactions with other items are left out.
        min_rating: Lowest rating that is a like; None takes every interaction as one.

    Raises:
        SplitError: Interactions have no time.
    """
    log = _ordered(frame, item_ids)
    if log["timestamp"].null_count():
        raise SplitError(
            f"{log['timestamp'].null_count()} of {len(log)} interactions have no timestamp: "
            "split by user instead"
        )
    first, second = (log["timestamp"].quantile(cut, "higher") or 0 for cut in CUTS)
    train: list[Interaction] = []
    validation, test = list[Case](), list[Case]()
    for history in _histories(log):
        known, tuned = _before(history, first), _before(history, second)
        train.extend(history[:known])
        likes = [place for place in _first_likes(history, min_rating) if place > 0]
        between = [place for place in likes if known <= place < tuned]
        after = [place for place in likes if place >= tuned]
        validation.extend(_case(history, place, known) for place in between[-1:])
        test.extend(_case(history, place, known) for place in after[-1:])
    return Split(_frame(train), tuple(validation), tuple(test), tuple(item_ids), _users(log), first)


def shuffle_days(frame: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Order each user's interactions of one day anew, at random; positions are counted anew.

    Logs whose times are days (Amazon's) have an arbitrary order inside a day, which a model of
    directions would profit from.

    Raises:
        SplitError: Interactions have no time.
    """
    if "timestamp" not in frame.columns or frame["timestamp"].null_count():
        raise SplitError("the log has no times: there is no day to shuffle, use 'published'")
    # Sorted first, so that the result depends on the seed and the log, not on the order of rows.
    log = frame.sort("user_id", "position")
    dice = pl.Series(np.random.default_rng(seed).random(len(log)))
    return (
        log.with_columns(day=pl.col("timestamp") // DAY_S, dice=dice)
        .sort("user_id", "day", "dice")
        .with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"))
        .drop("day", "dice")
    )


def find_leaks(split: Split) -> list[str]:
    """Name every target or later interaction that stands where a model could see it.

    Of a time split, whatever anybody did at or after the cut is later.

    Returns:
        One line a leak, empty where the split is clean.
    """
    ends: dict[str, int] = {}
    for case in chain(split.test, split.validation):
        ends[case.user_id] = min(case.position, ends.get(case.user_id, case.position))
    limits = pl.DataFrame(
        {"user_id": list(ends), "end": list(ends.values())},
        schema={"user_id": pl.String, "end": pl.Int64},
    )
    late = split.train.join(limits, on="user_id").filter(pl.col("position") >= pl.col("end"))
    found = [
        f"training: user {user!r} has {item!r} at position {position}, at or after a target"
        for user, item, position in late.select("user_id", "item_id", "position").iter_rows()
    ]
    if split.cut is not None:
        after = split.train.filter(pl.col("timestamp") >= split.cut)
        found += [
            f"training: user {user!r} has {item!r} at time {time}, at or after the cut"
            for user, item, time in after.select("user_id", "item_id", "timestamp").iter_rows()
        ]
    for case in chain(split.validation, split.test):
        if any(one.position >= case.position or one.item_id == case.target for one in case.history):
            found.append(f"history: user {case.user_id!r} shows the target {case.target!r}")
    return found


def sample_cases(
    cases: Sequence[Case],
    users: int | None,
    *,
    among: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Case]:
    """The cases of `users` users drawn at random, in the order given; all if there are no more.

    Args:
        cases: Of one part of a split.
        users: How many; all when None.
        among: Everybody who could have a case, of whom the first with one are drawn; those who have
            one by default. In another order of the days another few have none: given everybody in
            the log, the draws of all orders differ in those few alone.
        seed: Of the draw.
    """
    asked = {case.user_id for case in cases}
    if users is None or users >= len(asked):
        return list(cases)
    known = list(dict.fromkeys(among or (case.user_id for case in cases)))
    drawn = np.random.default_rng(seed).permutation(len(known)).tolist()
    chosen = set(islice((known[row] for row in drawn if known[row] in asked), users))
    return [case for case in cases if case.user_id in chosen]


_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "position": pl.Int64,
    "rating": pl.Float64,
    "timestamp": pl.Int64,
}


def _users(log: pl.DataFrame) -> tuple[str, ...]:
    return tuple(log["user_id"].unique(maintain_order=True))


def _ordered(frame: pl.DataFrame, item_ids: Sequence[str]) -> pl.DataFrame:
    """The log of the catalogue's items with all columns, by user and position."""
    missing = [
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in _SCHEMA.items()
        if name not in frame.columns
    ]
    return (
        frame.with_columns(missing)
        .select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items())
        .filter(pl.col("item_id").is_in(list(item_ids)))
        .sort("user_id", "position", "item_id")
    )


def _histories(log: pl.DataFrame) -> Iterable[list[Interaction]]:
    """Yield each user's interactions in time order."""
    for _, rows in groupby(log.iter_rows(named=True), key=itemgetter("user_id")):
        # The values come out of typed columns: no need to validate each of them again.
        yield [Interaction.model_construct(**row) for row in rows]


def _before(history: Sequence[Interaction], cut: float) -> int:
    """How many interactions stand before the first one at or after a time."""
    times = (one.timestamp or 0 for one in history)
    return next((place for place, time in enumerate(times) if time >= cut), len(history))


def _first_likes(history: Sequence[Interaction], min_rating: float | None) -> list[int]:
    """Places of the likes of items that the user had not met before."""
    met, places = set[str](), list[int]()
    for place, one in enumerate(history):
        if is_like(one.rating, min_rating) and one.item_id not in met:
            places.append(place)
        met.add(one.item_id)
    return places


def _case(history: Sequence[Interaction], place: int, training: int) -> Case:
    target = history[place]
    return Case(
        user_id=target.user_id,
        target=target.item_id,
        position=target.position,
        time=target.timestamp,
        history=tuple(history[:place]),
        training=training,
    )


def _frame(train: Sequence[Interaction]) -> pl.DataFrame:
    columns = {name: [getattr(one, name) for one in train] for name in _SCHEMA}
    return pl.DataFrame(columns, schema=_SCHEMA)
