"""The public data sets as homes, and the protocols that each is measured by.

Only read where they lie: a home holds what the product's own intake took of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from bench.quality.fits import PEERS
from bench.whole import make_whole
from mllm_srec.agent.ingest import ingest
from mllm_srec.finetune.evaluation.ranking import RankingOptions

USERS = 2_000
"""Users asked in each trial, drawn by the seed; the same for every row."""
FILM_TARGETS = 5
"""Successive targets of a film viewer: there are too few users for one each."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to ask a set."""

    name: str
    options: RankingOptions
    peers: Sequence[str] = ()
    """Rows of other libraries that are fitted, which takes minutes each."""


@dataclass(frozen=True, slots=True)
class RealSet:
    """One data set."""

    folder: str
    """Below the folder of all data sets; holds items.parquet and interactions.parquet."""
    protocols: Sequence[Protocol]
    """The headline first."""
    with_pictures: bool = False
    """Whether only items with a picture and an interaction are taken."""
    with_times: bool = True
    """Whether the log has times, or an order only."""


def _amazon(folder: str) -> RealSet:
    # Times are days: the published order inside a day is that of the product numbers.
    return RealSet(
        folder,
        (
            Protocol("shuffled", RankingOptions(users=USERS, day_order="shuffled")),
            Protocol(
                "shuffled-once",
                RankingOptions(users=USERS, day_order="shuffled", shuffles=1),
                peers=PEERS,
            ),
            Protocol("published", RankingOptions(users=USERS)),
            Protocol("time", RankingOptions(users=USERS, split_by="time")),
        ),
    )


SETS: Mapping[str, RealSet] = {
    "beauty": _amazon("amazon_beauty_2014"),
    "sports": _amazon("amazon_sports_2014"),
    "films": RealSet(
        "movielens_small_posters",
        (
            Protocol("published", RankingOptions(targets=FILM_TARGETS), peers=PEERS),
            Protocol("time", RankingOptions(split_by="time")),
        ),
        with_pictures=True,
    ),
    # Order alone is known: neither days to shuffle nor a time to cut at.
    "microlens": RealSet(
        "microlens_50k",
        (Protocol("published", RankingOptions(users=USERS), peers=PEERS),),
        with_times=False,
    ),
}


class Files(NamedTuple):
    """What a home is made of."""

    items: Path
    interactions: Path
    images: Path


def files_of(one: RealSet, data: Path, out: Path) -> Files:
    """What the home of a set is made of: its own files, or what `take_in` makes of them."""
    source = data / one.folder
    tables = out if one.with_pictures else source
    return Files(tables / "items.parquet", tables / "interactions.parquet", source)


def take_in(one: RealSet, data: Path, out: Path) -> Path:
    """The home of a set, made where it is not there yet; nothing is fused.

    Args:
        one: Which set.
        data: The folder of all data sets.
        out: The folder of what is made of this set.
    """
    home = out / "home"
    if home.exists():
        return home
    files = files_of(one, data, out)
    if one.with_pictures:
        _write_pictured(files)
    make_whole(home, lambda path: ingest(path, **files._asdict(), fuse_now=False))
    return home


def _write_pictured(files: Files) -> None:
    """Write the items with a picture and an interaction, and the interactions with them."""
    files.items.parent.mkdir(parents=True, exist_ok=True)
    interactions = pl.read_parquet(files.images / "interactions.parquet")
    pictured = (
        pl.read_parquet(files.images / "items.parquet")
        .filter(pl.col("image").is_not_null())
        .join(interactions.select("item_id"), on="item_id", how="semi")
    )
    pictured.write_parquet(files.items)
    chosen = interactions.join(pictured.select("item_id"), on="item_id", how="semi")
    chosen.write_parquet(files.interactions)
