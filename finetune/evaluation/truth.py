"""What is true of a drawn shop, read for evaluation alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mllm_srec.finetune.data.teacher import annotate
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.shop.calendars import START
from mllm_srec.finetune.shop.vocabulary import ItemTruth
from mllm_srec.store.records import DAY_S, FusedItem, Item

FILES = ("items.parquet", "users.parquet", "popularity.parquet", "law.json")


def require_truth(truth: Path, items: Mapping[str, Item]) -> None:
    """Refuse a folder that is not the truth of a home's items, before long work reads it.

    All drawn shops have the same ids; the prices, which text and truth share, tell them apart.

    Raises:
        FinetuneError: A file is missing, an item is unknown there, or most prices are others.
    """
    for name in FILES:
        if not (truth / name).is_file():
            raise FinetuneError(
                f"no {name!r} in {str(truth)!r}: give the folder `truth` that `srec sample-shop` "
                "wrote"
            )
    prices = dict(pl.read_parquet(truth / "items.parquet", columns=["item_id", "price"]).rows())
    if unknown := items.keys() - prices.keys():
        raise FinetuneError(
            f"{len(unknown)} of the {len(items)} items of the home are unknown in "
            f"{str(truth)!r}, such as {min(unknown)!r}: give the truth of the shop that the home "
            "was made of"
        )
    priced = [item for item in items.values() if item.price is not None]
    others = [item for item in priced if item.price != prices[item.item_id]]
    if 2 * len(others) > len(priced):
        raise FinetuneError(
            f"{len(others)} of the {len(items)} items of the home have another price in "
            f"{str(truth)!r}, such as {others[0].item_id!r}: it is the truth of another shop, give "
            "that of the shop that the home was made of"
        )


def read_items(truth: Path) -> dict[str, ItemTruth]:
    """The true attributes of all items, by id."""
    rows = pl.read_parquet(truth / "items.parquet").iter_rows(named=True)
    return {row["item_id"]: _truth(row) for row in rows}


def _truth(row: dict[str, Any]) -> ItemTruth:
    known = {name: row[name] for name in ItemTruth.__dataclass_fields__}
    return ItemTruth(**{**known, "noise": tuple(known["noise"])})


def label_of(item: ItemTruth) -> dict[str, str | None]:
    """The true attributes as the row of labels that a careful annotator would write."""
    picture, text = item.has_picture, not item.bare_text
    return {
        "what": item.what if picture or text else None,
        "colour": item.colour if picture else item.text_colour,
        "pattern": item.pattern if picture else None,
        "style": item.style if picture else None,
        "material": item.material if text else None,
        "brand": item.brand if text else None,
        "price": item.price_band,
        "purpose": item.purpose if text else None,
        "suits": item.suits if text else None,
        "text_colour": item.text_colour if picture else None,
    }


def true_descriptions(truth: Path) -> dict[str, FusedItem]:
    """What a careful annotator would write of each item, by id."""
    return {
        item_id: annotate(label_of(item), pictured=item.has_picture).fused
        for item_id, item in read_items(truth).items()
    }


def unseen_items(truth: Path) -> set[str]:
    """Items that nobody annotated: never seen in training."""
    table = pl.read_parquet(truth / "items.parquet")
    return set(table.filter(pl.col("split") == "test")["item_id"])


@dataclass(frozen=True, slots=True)
class Drift:
    """How the hidden taste of one user moved."""

    change: float
    """Time of the change, seconds since 1970 UTC."""
    gained: frozenset[str]
    lost: frozenset[str]


def drifts(truth: Path) -> dict[str, Drift]:
    """The users whose taste moved, with the values they came to like and those they left."""
    table = pl.read_parquet(truth / "users.parquet").filter(pl.col("kind") != "steady")
    found = {}
    for row in table.iter_rows(named=True):
        old = {entry["value"] for entry in row["old"] if entry["weight"] > 0}
        new = {entry["value"] for entry in row["new"] if entry["weight"] > 0}
        found[row["user_id"]] = Drift(
            change=START + DAY_S * (row["change_day"] + row["change_days"]),
            gained=frozenset(new - old),
            lost=frozenset(old - new),
        )
    return found
