"""Drawn users: their hidden tastes, and what they pick and rate by the law."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mllm_srec.agent.results import Progress
from mllm_srec.finetune.shop.calendars import (
    LARGEST,
    SMALLEST,
    START,
    Calendars,
    draw_calendars,
)
from mllm_srec.finetune.shop.law import (
    DRIFTING,
    SEEN,
    TOLD,
    Features,
    Floats,
    Ints,
    Law,
    Shop,
    Tastes,
)
from mllm_srec.finetune.shop.vocabulary import SUITS, TYPES, ItemTruth
from mllm_srec.store.records import DAY_S

LIKED = 4
"""Lowest rating that says a user liked an item."""


def write_interactions(
    items: Sequence[ItemTruth],
    seed: int,
    users: int,
    out_dir: Path,
    progress: Progress = lambda stage, done, total: None,
) -> int:
    """Draw users and their interactions, and write them with the truth about them.

    Writes `interactions.parquet` (user_id, item_id, position, rating, timestamp) and, for the
    evaluation alone, `truth/users.parquet`, `truth/popularity.parquet` and `truth/law.json`.

    Args:
        items: The catalogue with its true attributes.
        seed: Same seed, same catalogue: same files.
        users: How many users to draw.
        out_dir: Folder to write to; made when missing.
        progress: Told how many users have picked.

    Returns:
        The number of interactions.

    Raises:
        ValueError: The catalogue is too small to choose from.
    """
    rng = np.random.default_rng([seed, 202])
    shop = draw_shop(items, Law(), rng)
    # Half of the first day's items at most, so that there is always something left to pick.
    largest = min(LARGEST, int((shop.added == 0).sum()) // 2)
    if largest < SMALLEST:
        raise ValueError(
            f"{len(items)!r} items leave users too little choice: "
            f"at least {2 * SMALLEST} must be sold from the first day"
        )
    calendars = draw_calendars(rng, users, largest)
    tastes = draw_tastes(shop, calendars, rng)
    picks = []
    for user, days in enumerate(calendars.days):
        picks.append(_live(shop, tastes, user, days, bool(calendars.cold[user]), rng))
        progress("picking", user + 1, users)
    truth = out_dir / "truth"
    truth.mkdir(parents=True, exist_ok=True)
    table = _interactions(items, calendars.days, picks)
    table.write_parquet(out_dir / "interactions.parquet")
    _users_table(shop.features, tastes).write_parquet(truth / "users.parquet")
    pl.DataFrame(
        {"item_id": [item.item_id for item in items], "log_popularity": shop.log_popularity}
    ).write_parquet(truth / "popularity.parquet")
    constants = json.dumps(shop.law.record(), indent=1)
    (truth / "law.json").write_text(constants + "\n", encoding="utf-8")
    return len(table)


def read_truth(items: Sequence[ItemTruth], truth: Path) -> tuple[Shop, Tastes]:
    """Read back what `write_interactions` wrote about the law and the hidden tastes.

    Args:
        items: The same catalogue, in any order.
        truth: The folder `truth`.

    Returns:
        The shop, items in the order given; the tastes, user "u0" first.
    """
    features = Features.of(items)
    popularity = dict(pl.read_parquet(truth / "popularity.parquet").iter_rows())
    pull = np.array([popularity[item.item_id] for item in items], dtype=np.float32)
    law = Law.read(json.loads((truth / "law.json").read_text("utf-8")))
    table = pl.read_parquet(truth / "users.parquet")
    tastes = Tastes(
        old=_dense(features, table["old"].to_list()),
        new=_dense(features, table["new"].to_list()),
        kind=table["kind"].to_numpy().astype(np.str_),
        change=table["change_day"].to_numpy(),
        lasts=table["change_days"].to_numpy(),
    )
    return Shop(law, items, features, pull), tastes


def draw_shop(items: Sequence[ItemTruth], law: Law, rng: np.random.Generator) -> Shop:
    """Give each item a popularity."""
    log_popularity = rng.normal(0, law.popularity, len(items)).astype(np.float32)
    return Shop(law, items, Features.of(items), log_popularity)


def draw_tastes(shop: Shop, calendars: Calendars, rng: np.random.Generator) -> Tastes:
    """Draw the hidden taste of each user and how it drifts."""
    users = len(calendars.days)
    kinds = tuple(shop.law.kinds)
    kind = rng.choice(kinds, size=users, p=list(shop.law.kinds.values()))
    kind[calendars.cold] = "steady"
    old = np.zeros((users, len(shop.features.names)), dtype=np.float32)
    new = np.zeros_like(old)
    change, lasts = np.zeros(users), np.full(users, 1 / DAY_S)
    for user, days in enumerate(calendars.days):
        old[user], new[user] = _taste(shop, rng)
        if kind[user] == "steady":
            new[user] = old[user]
            continue
        # Drift by the user's own clock: old and new taste both leave several interactions.
        begin, end = (0.4, 0.4) if kind[user] == "abrupt" else (0.25, 0.55)
        change[user] = np.quantile(days, begin + rng.uniform(-0.1, 0.1))
        if kind[user] == "slow":
            lasts[user] = np.quantile(days, end + rng.uniform(-0.1, 0.1)) - change[user]
    return Tastes(old, new, kind, change, lasts)


def _taste(shop: Shop, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw one user's likes and dislikes before and after a drift: (D,) each."""
    old = np.zeros(len(shop.features.names), dtype=np.float32)
    new = np.zeros_like(old)
    for attribute in (*SEEN, *TOLD):
        likes = shop.law.tastes[attribute]
        if rng.random() >= likes.share:
            continue
        places = _places(shop.features, attribute, rng)
        liked, disliked, later, _ = np.split(
            places, np.cumsum([likes.likes, likes.dislikes, likes.likes])
        )
        strength = likes.strength * rng.uniform(0.8, 1.2, len(shop.features.names))
        old[liked] = new[liked] = strength[liked]
        old[disliked] = new[disliked] = -shop.law.dislike * strength[disliked]
        if attribute in DRIFTING:
            new[liked] = -shop.law.fatigue * strength[liked]
            new[later] = strength[later]
    return old, new


def _places(features: Features, attribute: str, rng: np.random.Generator) -> Ints:
    """Order the columns of an attribute: likes first, then dislikes, then what is liked later."""
    columns = {features.names[c][1]: c for c in features.columns((attribute,))}
    words = [str(word) for word in rng.permutation(sorted(columns))]
    if attribute in ("what", "suits"):
        words = _by_department(words, attribute, rng)
    return np.array([columns[word] for word in words], dtype=np.int64)


def _by_department(words: list[str], attribute: str, rng: np.random.Generator) -> list[str]:
    """Order words so that likes keep to departments as a person's would.

    Types: most from one department, the rest from a second; the new ones from the second and a
    third. What an item suits: one like and one dislike in each department.
    """
    groups = TYPES if attribute == "what" else SUITS
    departments = rng.permutation(sorted(groups))
    a, b, c, d = ([w for w in words if w in groups[str(name)]] for name in departments)
    if attribute == "suits":
        return [word for row in zip_longest(a, b, c, d) for word in row if word is not None]
    first = [*a[:2], *b[:1], *d[:2], *b[1:2], *c[:2]]
    return [*first, *(word for word in words if word not in first)]


@dataclass(frozen=True, slots=True)
class Picks:
    """What one user picked, in time order."""

    items: Ints
    ratings: Ints


def _live(
    shop: Shop,
    tastes: Tastes,
    user: int,
    days: NDArray[np.float64],
    likes_the_end: bool,
    rng: np.random.Generator,
) -> Picks:
    """Let one user pick and rate at T days; nothing twice.

    A cold user likes the last two by construction: they are held out, and what is left is cold.
    """
    utility = tastes.at(user, days) @ shop.features.matrix.T  # (T, N)
    pull = shop.pull(days)
    noise = rng.random(len(days)) < shop.law.noise
    if likes_the_end:
        noise[-2:] = False
    chance = np.exp(np.where(noise[:, None], 0, utility) + pull)
    chance *= shop.added <= days[:, None]
    chosen, ratings = np.empty((2, len(days)), dtype=np.int64)
    for step, row in enumerate(chance):
        row[chosen[:step]] = 0
        opinions = None
        if likes_the_end and step >= len(days) - 2:
            opinions = shop.law.rate(utility[step], rng)
            liked = row * (opinions >= LIKED)
            # A small catalogue may hold nothing that the user likes.
            row = liked if liked.any() else row
        totals = np.cumsum(row, dtype=np.float64)
        pick = np.searchsorted(totals, rng.random() * totals[-1], side="right")
        chosen[step] = pick
        rated = shop.law.rate(utility[step, [pick]], rng) if opinions is None else opinions[[pick]]
        ratings[step] = rated[0]
    return Picks(chosen, ratings)


def _interactions(
    items: Sequence[ItemTruth], days: Sequence[NDArray[np.float64]], picks: Sequence[Picks]
) -> pl.DataFrame:
    ids = np.array([item.item_id for item in items])
    sizes = [len(one) for one in days]
    seconds = np.rint(np.concatenate(days) * DAY_S).astype(np.int64)
    return pl.DataFrame(
        {
            "user_id": np.repeat([user_name(user) for user in range(len(days))], sizes),
            "item_id": ids[np.concatenate([one.items for one in picks])],
            "position": np.concatenate([np.arange(size) for size in sizes]),
            "rating": np.concatenate([one.ratings for one in picks]),
            "timestamp": START + seconds,
        }
    )


def user_name(user: int) -> str:
    """Name a user: `"u17"`."""
    return f"u{user}"


def _users_table(features: Features, tastes: Tastes) -> pl.DataFrame:
    """Tabulate tastes readably: attribute, value and weight of each like and dislike."""
    return pl.DataFrame(
        {
            "user_id": [user_name(user) for user in range(len(tastes.kind))],
            "kind": tastes.kind.astype(str),
            "change_day": tastes.change,
            "change_days": tastes.lasts,
            "old": [_sparse(features, row) for row in tastes.old],
            "new": [_sparse(features, row) for row in tastes.new],
        }
    )


def _sparse(features: Features, row: Floats) -> list[dict[str, Any]]:
    return [
        {"attribute": features.names[c][0], "value": features.names[c][1], "weight": float(row[c])}
        for c in np.argsort(-row, kind="stable")
        if row[c] != 0
    ]


def _dense(features: Features, rows: Sequence[Sequence[dict[str, Any]]]) -> Floats:
    place = {name: column for column, name in enumerate(features.names)}
    taste = np.zeros((len(rows), len(place)), dtype=np.float32)
    for user, row in enumerate(rows):
        for one in row:
            taste[user, place[one["attribute"], one["value"]]] = one["weight"]
    return taste
