"""Items and interactions of a shop's files; what is bad comes out as a `Reject`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from mllm_srec.store import fields
from mllm_srec.store.fields import FieldError
from mllm_srec.store.records import MAX_TITLE, Item
from mllm_srec.store.row_files import Values, read_rows

MAX_TEXT = 20_000
"""Characters kept of a description and of keywords; longer ones are cut and the cut is reported."""

MAX_CATEGORIES = 50

_CAPS = {"title": MAX_TITLE, "brand": MAX_TITLE, "description": MAX_TEXT, "keywords": MAX_TEXT}

_ITEM_COLUMNS = (
    "item_id", "title", "brand", "categories", "description", "price", "keywords", "image",
)  # fmt: skip
_INTERACTION_COLUMNS = ("user_id", "item_id", "position", "rating", "timestamp")


@dataclass(frozen=True, slots=True)
class Reject:
    """One thing that was not taken as it stood, and why."""

    file: str
    line: int
    """From 1; the row number in a Parquet file."""
    field: str | None
    """None where the whole row is meant."""
    reason: str
    kind: Literal["row", "picture", "cut"] = "row"
    """`row`: not taken; `picture`: taken without its picture; `cut`: taken with a shorter text."""


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item as it stands in a file."""

    line: int
    item: Item
    """Without its picture."""
    image: object
    """What the file names as its picture; None without one. Not checked yet."""
    cut: tuple[tuple[str, str], ...]
    """Fields that were cut, with the size that they had: `("title", "100,000 characters")`."""


@dataclass(frozen=True, slots=True)
class InteractionRow:
    """An interaction as it stands in a file."""

    line: int
    user_id: str
    item_id: str
    position: int | None
    rating: float | None
    timestamp: int | None


_Row = TypeVar("_Row", ItemRow, InteractionRow)


def read_items(path: Path, *, unread: set[str] | None = None) -> Iterator[ItemRow | Reject]:
    """Yield the items of a file in their order.

    Args:
        path: The file.
        unread: Gets the names of the fields that the file has and an item has not.

    Raises:
        InputError: The file cannot be read, is empty, not UTF-8, or of no known format.
    """
    yield from _parsed(path, _ITEM_COLUMNS, _item, unread)


def read_interactions(
    path: Path, *, now: float, unread: set[str] | None = None
) -> Iterator[InteractionRow | Reject]:
    """Yield the interactions of a file in their order.

    Args:
        path: The file.
        now: Seconds since 1970; later interactions are rejected.
        unread: Gets the names of the fields that the file has and an interaction has not.

    Raises:
        InputError: The file cannot be read, is empty, not UTF-8, or of no known format.
    """
    yield from _parsed(
        path, _INTERACTION_COLUMNS, lambda line, row: _interaction(line, row, now=now), unread
    )


def _parsed(
    path: Path,
    columns: tuple[str, ...],
    parse: Callable[[int, Values], _Row],
    unread: set[str] | None,
) -> Iterator[_Row | Reject]:
    for line, values in read_rows(path, columns, set() if unread is None else unread):
        if isinstance(values, str):
            yield Reject(str(path), line, None, values)
            continue
        try:
            yield parse(line, values)
        except FieldError as error:
            yield Reject(str(path), line, error.field, error.reason)


def _item(line: int, row: Values) -> ItemRow:
    texts, cut = {}, []
    for field, cap in _CAPS.items():
        value = fields.text(row, field)
        if len(value) > cap:
            cut.append((field, f"{len(value):,} characters"))
        texts[field] = value[:cap].rstrip()
    categories = fields.words(row, "categories")
    if len(categories) > MAX_CATEGORIES:
        cut.append(("categories", f"{len(categories):,} of them"))
    cut += [
        ("categories", f"{len(name):,} characters")
        for name in categories[:MAX_CATEGORIES]
        if len(name) > MAX_TITLE
    ]
    item = Item(
        item_id=fields.identifier(row, "item_id"),
        categories=tuple(name[:MAX_TITLE] for name in categories[:MAX_CATEGORIES]),
        price=fields.not_negative(row, "price"),
        **texts,
    )
    image = row.get("image")
    none = fields.is_missing(image) or image in ("", [], ())
    return ItemRow(line, item, None if none else image, tuple(cut))


def _interaction(line: int, row: Values, *, now: float) -> InteractionRow:
    return InteractionRow(
        line,
        fields.identifier(row, "user_id"),
        fields.identifier(row, "item_id"),
        fields.whole(row, "position"),
        fields.number(row, "rating"),
        fields.seconds(row, "timestamp", now=now),
    )
