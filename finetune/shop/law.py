"""The law by which the users of a drawn shop choose and rate items.

P(user u picks item i at time t) is proportional to available(i, t) x not-yet-seen(u, i) x
exp(taste_u(t) . x_i + popularity_i + season(department_i, month of t)); a small share of the picks
is noise that follows popularity and season alone. The rating follows the taste alone. Items are
one-hot vectors over the values of their attributes; a taste is sparse: a few likes and dislikes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from mllm_srec.finetune.shop.vocabulary import DAYS, DEPARTMENTS, ItemTruth

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SEEN = ("what", "colour", "pattern", "style")
"""Attributes that only the picture shows."""
TOLD = ("material", "brand", "price", "purpose", "suits")
"""Attributes that only the text tells."""
DRIFTING = ("what", "colour", "pattern")
"""Attributes whose old likes and dislikes give way to new ones; the taste in the others stays."""


@dataclass(frozen=True, slots=True)
class Likes:
    """How the users of a shop feel about the values of one attribute."""

    likes: int
    """Values that a user likes."""
    dislikes: int
    """Values that a user dislikes."""
    strength: float
    """Utility of a liked value for a user to whom the attribute matters."""
    share: float
    """Share of the users to whom the attribute matters; the others neither like nor dislike."""


def _tastes() -> dict[str, Likes]:
    return {
        "what": Likes(3, 2, 6.6, 1.0),
        "colour": Likes(2, 2, 4.4, 1.0),
        "pattern": Likes(1, 1, 2.9, 0.6),
        "style": Likes(1, 1, 2.3, 0.5),
        "material": Likes(2, 2, 3.0, 0.7),
        "brand": Likes(2, 2, 3.2, 0.5),
        "price": Likes(1, 1, 2.4, 0.5),
        "purpose": Likes(2, 2, 3.0, 0.6),
        "suits": Likes(4, 4, 2.2, 0.4),
    }


def _seasons() -> dict[str, tuple[float, float]]:
    return {"baby": (4, 0.2), "sports": (6, 0.6), "beauty": (2, 0.3), "toys": (12, 0.7)}


@dataclass(frozen=True, slots=True)
class Law:
    """The constants of the law: the shop needs picture, text and time because of their values."""

    tastes: dict[str, Likes] = field(default_factory=_tastes)
    dislike: float = 1.0
    """Strength of a dislike as a multiple of the strength of a like."""
    fatigue: float = 0.5
    """Strength of the aversion to what was liked before a drift, as a multiple of the like."""
    popularity: float = 0.7
    """Standard deviation of the items' log popularity."""
    noise: float = 0.15
    """Share of the picks that follow popularity and season alone."""
    kinds: dict[str, float] = field(
        default_factory=lambda: {"abrupt": 0.45, "slow": 0.4, "steady": 0.15}
    )
    """Shares of the users whose taste drifts at once, over months, and not at all."""
    seasons: dict[str, tuple[float, float]] = field(default_factory=_seasons)
    """Month (1 to 12) of a department's peak, and the utility it adds there."""
    edges: tuple[float, float, float, float] = (-3.0, -0.5, 4.0, 11.0)
    """Taste utilities from which a rating is 2, 3, 4 and 5."""
    blur: float = 0.4
    """Standard deviation of what a rating adds to the taste utility, cut off at twice that."""

    def record(self) -> dict[str, Any]:
        """Return the constants as plain values for `law.json`."""
        return asdict(self)

    @classmethod
    def read(cls, record: dict[str, Any]) -> "Law":
        """Make the law again from its record."""
        tastes = {name: Likes(**likes) for name, likes in record["tastes"].items()}
        seasons = {name: (peak, height) for name, (peak, height) in record["seasons"].items()}
        edges = tuple(record["edges"])
        return cls(**{**record, "tastes": tastes, "seasons": seasons, "edges": edges})

    def season(self, days: NDArray[np.float64]) -> Floats:
        """Compute what the time of year adds to the utility of the departments' items.

        Returns:
            (T, 4), one row for each of T days, one column for each of `DEPARTMENTS`.
        """
        peaks = np.array([self.seasons[name] for name in DEPARTMENTS])
        # Day 0 of the shop's year is the first of June; a peak lies in the middle of its month.
        months = (days / DAYS * 12 + 5) % 12 + 1
        angles = (months[:, None] - peaks[:, 0] - 0.5) * 2 * np.pi / 12
        return np.asarray(np.cos(angles) * peaks[:, 1], dtype=np.float32)

    def rate(self, utility: Floats, rng: np.random.Generator) -> Ints:
        """Rate items by the user's taste utility for them: 1 to 5, same shape."""
        blur = rng.normal(0, self.blur, utility.shape).clip(-2 * self.blur, 2 * self.blur)
        return np.asarray(np.searchsorted(self.edges, utility + blur, side="right") + 1)


@dataclass(frozen=True)
class Features:
    """Items as one-hot vectors over the values of their attributes."""

    names: tuple[tuple[str, str], ...]
    """(attribute, value) of each of the D columns, attribute by attribute."""
    matrix: Floats
    """(N, D), 0 or 1."""

    @classmethod
    def of(cls, items: Sequence[ItemTruth]) -> "Features":
        """Encode the true attributes of items."""
        rows = [attributes(item) for item in items]
        names = tuple(
            (attribute, value)
            for attribute in (*SEEN, *TOLD)
            for value in sorted({row[attribute] for row in rows})
        )
        place = {name: column for column, name in enumerate(names)}
        matrix = np.zeros((len(rows), len(names)), dtype=np.float32)
        for number, row in enumerate(rows):
            matrix[number, [place[name] for name in row.items()]] = 1
        return cls(names, matrix)

    def columns(self, attributes: Sequence[str]) -> Ints:
        """List the columns that belong to some attributes."""
        columns = [column for column, name in enumerate(self.names) if name[0] in attributes]
        return np.array(columns, dtype=np.int64)


def attributes(item: ItemTruth) -> dict[str, str]:
    """Name the nine attributes of an item that users have a taste in, with their values."""
    return {
        "what": item.what,
        "colour": item.colour,
        "pattern": item.pattern,
        "style": item.style,
        "material": item.material,
        "brand": item.brand,
        "price": item.price_band,
        "purpose": item.purpose,
        "suits": item.suits,
    }


@dataclass(frozen=True)
class Tastes:
    """The hidden tastes of U users over D columns of `Features`."""

    old: Floats
    """(U, D), utilities before the drift."""
    new: Floats
    """(U, D), utilities after the drift; the same as `old` for users whose taste is steady."""
    kind: NDArray[np.str_]
    """(U,), how the taste drifts: a key of `Law.kinds`."""
    change: NDArray[np.float64]
    """(U,), day on which the drift begins."""
    lasts: NDArray[np.float64]
    """(U,), days that the drift takes; a small fraction of a day where it is abrupt."""

    def share_of_new(self, user: int, days: NDArray[np.float64]) -> Floats:
        """Say how far the taste of a user has moved from old to new at some days: 0 to 1."""
        moved = (days - self.change[user]) / self.lasts[user]
        return np.asarray(moved.clip(0, 1), dtype=np.float32)

    def at(self, user: int, days: NDArray[np.float64]) -> Floats:
        """Return the taste of a user at T days: (T, D)."""
        share = self.share_of_new(user, days)[:, None]
        return np.asarray((1 - share) * self.old[user] + share * self.new[user])


@dataclass(frozen=True)
class Shop:
    """What the law weighs beside a user's taste: items, their vectors and their popularity."""

    law: Law
    items: Sequence[ItemTruth]
    features: Features
    log_popularity: Floats
    """(N,)."""

    @cached_property
    def added(self) -> Ints:
        """Day from which each item is sold: (N,)."""
        return np.array([item.added_day for item in self.items], dtype=np.int64)

    @cached_property
    def department(self) -> Ints:
        """Place of each item's department in `DEPARTMENTS`: (N,)."""
        places = [DEPARTMENTS.index(item.department) for item in self.items]
        return np.array(places, dtype=np.int64)

    def pull(self, days: NDArray[np.float64]) -> Floats:
        """Compute log popularity plus season: (T, N) for T days."""
        return self.log_popularity + self.law.season(days)[:, self.department]


def law_scores(shop: Shop, tastes: Tastes, users: Ints, days: NDArray[np.float64]) -> Floats:
    """Score all items by the law itself, which knows the hidden tastes.

    Availability and what a user has seen are left out, as in every other score.

    Args:
        shop: Items with their popularity.
        tastes: Hidden tastes.
        users: (U,), rows of `tastes`.
        days: (U,), the day to score for, one for each user.

    Returns:
        (U, N), log probability of being picked next.
    """
    rows = []
    for user, day in zip(users, days, strict=True):
        when = np.array([day])
        pull = shop.pull(when)[0]
        taste = shop.features.matrix @ tastes.at(int(user), when)[0]
        noise = shop.law.noise
        rows.append(
            np.logaddexp(np.log1p(-noise) + _log_p(taste + pull), np.log(noise) + _log_p(pull))
        )
    return np.asarray(rows, dtype=np.float32)


def _log_p(logits: Floats) -> Floats:
    return np.asarray(logits - logsumexp(logits), dtype=np.float32)
