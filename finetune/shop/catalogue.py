"""The catalogue of a drawn shop: its items by law of chance, and its files."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mllm_srec.agent.results import Progress
from mllm_srec.finetune.shop.drawing import draw
from mllm_srec.finetune.shop.text import write_text
from mllm_srec.finetune.shop.vocabulary import (
    COLOURS,
    DAYS,
    DEPARTMENTS,
    LAST_MONTH,
    PATTERNS,
    PRICE_BANDS,
    STYLES,
    SUITS,
    TYPES,
    ItemTruth,
    ShopWords,
    price_band,
    shop_words,
)

SPECIAL_SHARE = 0.05
"""Share of items that contradict themselves, of those without picture, of those without text."""
LATE_SHARE = 0.09
"""Share of items that the shop sells in the last month only."""
TEST_SHARE = 0.2
"""Share of items whose labels are kept back."""
JPEG_QUALITY = 85

_NOISES = {
    "occlusion": 0.12, "watermark": 0.12, "dim": 0.10, "tilt": 0.12, "blur": 0.06, "grain": 0.10,
}  # fmt: skip
"""Visual disturbances and the share of the pictures each is in."""
_PRICES = {"budget": (3.0, 14.99), "mid": (15.0, 39.99), "premium": (40.0, 160.0)}

_LABEL_COLUMNS = (
    "item_id", "what", "colour", "pattern", "style", "material", "brand", "price", "purpose",
    "suits", "text_colour",
)  # fmt: skip
_ALL_TYPES = tuple((department, what) for department in DEPARTMENTS for what in TYPES[department])


def make_items(seed: int, count: int) -> list[ItemTruth]:
    """Draw the items of a shop.

    What, colour, pattern, style, material, purpose and suits are independent of each other and
    spread evenly; a brand leans to a department and to a price band.
    """
    rng = np.random.default_rng([seed, 102])
    words = shop_words(seed)
    kinds = rng.permutation(np.arange(count) % len(_ALL_TYPES))
    colours = _spread(rng, len(COLOURS), count)
    # 0: contradiction, 1: no picture, 2: bare text; above: nothing special.
    special = rng.permutation(count) // max(1, round(SPECIAL_SHARE * count))
    columns = {
        "kind": kinds,
        "colour": colours,
        "other": (colours + rng.integers(1, len(COLOURS), count)) % len(COLOURS),
        "named": rng.random(count) < 0.5,
        "special": special,
        "pattern": _spread(rng, len(PATTERNS), count),
        "style": _spread(rng, len(STYLES), count),
        "material": _spread(rng, len(words.materials), count),
        "purpose": _spread(rng, len(words.purposes), count),
        "suits": _spread(rng, 4, count),
        "brand": (brand := _lean_brands(rng, kinds, words)),
        "price": _prices(rng, brand, len(words.brands)),
        "day": _days(rng, count),
    }
    noises = rng.random((count, len(_NOISES))) < np.array(list(_NOISES.values()))
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        _item(index, dict(zip(columns, row, strict=True)), noise, words, count)
        for index, (row, noise) in enumerate(zip(rows, noises.tolist(), strict=True))
    ]


def write_catalogue(
    items: Sequence[ItemTruth],
    out_dir: Path,
    *,
    seed: int,
    pictures: bool = True,
    progress: Progress = lambda stage, done, total: None,
) -> None:
    """Write `items.parquet`, `labels.parquet`, `images/` and `truth/items.parquet`.

    Args:
        items: The shop, as `make_items` drew it.
        out_dir: A folder; made when missing, files of the same names are replaced.
        seed: Decides the words, the pictures and the split, given the items.
        pictures: False leaves `images/` away; the items are then a shop without pictures to show,
            but the truth still says what the pictures would show.
        progress: Told how many pictures are drawn.
    """
    (out_dir / "truth").mkdir(parents=True, exist_ok=True)
    texts = [write_text(item, seed) for item in items]
    shown = [pictures and item.has_picture for item in items]
    frame = pl.DataFrame(
        {
            "item_id": [item.item_id for item in items],
            "title": [text.title for text in texts],
            "brand": [text.brand for text in texts],
            "categories": [[item.department] for item in items],
            "description": [text.description for text in texts],
            "price": [item.price for item in items],
            "keywords": [text.keywords for text in texts],
            "image": [
                f"images/{item.item_id}.jpg" if picture else None
                for item, picture in zip(items, shown, strict=True)
            ],
        },
        schema_overrides={"image": pl.String},
    )
    frame.write_parquet(out_dir / "items.parquet")
    split = _split(items, seed)
    labels = [
        label(item, shown=picture)
        for item, picture, part in zip(items, shown, split, strict=True)
        if part == "train"
    ]
    pl.DataFrame(labels, schema=dict.fromkeys(_LABEL_COLUMNS, pl.String)).write_parquet(
        out_dir / "labels.parquet"
    )
    truth = pl.DataFrame(
        [asdict(item) | {"split": part} for item, part in zip(items, split, strict=True)],
        schema_overrides={"text_colour": pl.String, "noise": pl.List(pl.String)},
        infer_schema_length=None,
    )
    truth.write_parquet(out_dir / "truth" / "items.parquet")
    if pictures:
        _write_pictures(items, out_dir / "images", seed, progress)


def label(item: ItemTruth, *, shown: bool) -> dict[str, str | None]:
    """Label an item as an annotator would who sees its text, and its picture if it is shown.

    The colour of a contradictory item is the picture's; `text_colour` is what the text says then.
    """
    told = not item.bare_text
    return {
        "item_id": item.item_id,
        "what": item.what if shown or not item.has_picture else None,
        "colour": item.colour if shown else item.text_colour,
        "pattern": item.pattern if shown else None,
        "style": item.style if shown else None,
        "material": item.material if told else None,
        "brand": item.brand if told else None,
        "price": item.price_band,
        "purpose": item.purpose if told else None,
        "suits": item.suits if told else None,
        "text_colour": item.text_colour if shown and item.contradicts else None,
    }


def _item(
    index: int, row: dict[str, Any], noise: list[bool], words: ShopWords, count: int
) -> ItemTruth:
    """Put the numbers of one item into words."""
    department, what = _ALL_TYPES[row["kind"]]
    contradicts, pictureless, bare = (row["special"] == number for number in range(3))
    colour = COLOURS[row["colour"]]
    text_colour = COLOURS[row["other"]] if contradicts else None
    if pictureless and row["named"]:
        text_colour = colour
    return ItemTruth(
        item_id=f"i{index:0{max(4, len(str(count - 1)))}d}",
        department=department,
        what=what,
        colour=colour,
        pattern=PATTERNS[row["pattern"]],
        style=STYLES[row["style"]],
        material=words.materials[row["material"]],
        brand=words.brands[row["brand"]],
        price_band=price_band(row["price"]),
        price=row["price"],
        purpose=words.purposes[row["purpose"]],
        suits=SUITS[department][row["suits"]],
        text_colour=text_colour,
        has_picture=not pictureless,
        bare_text=bare,
        noise=tuple(name for name, is_in in zip(_NOISES, noise, strict=True) if is_in),
        added_day=row["day"],
    )


def _spread(rng: np.random.Generator, values: int, count: int) -> np.ndarray:
    """Give every value the same share, in random order."""
    return rng.permutation(np.arange(count) % values)


def _lean_brands(rng: np.random.Generator, kinds: np.ndarray, words: ShopWords) -> np.ndarray:
    """Draw each item's brand: one in two brands of a department is at home in it."""
    departments = kinds // len(TYPES[DEPARTMENTS[0]])
    home = np.arange(len(words.brands)) % len(DEPARTMENTS)
    brands = np.empty(len(kinds), dtype=int)
    for number in range(len(DEPARTMENTS)):
        weights = np.where(home == number, 3.0, 1.0)
        inside = np.flatnonzero(departments == number)
        brands[inside] = rng.choice(len(home), size=len(inside), p=weights / weights.sum())
    return brands


def _prices(rng: np.random.Generator, brand: np.ndarray, brands: int) -> np.ndarray:
    """Draw prices: six in ten items of a brand lie in its own band, log-uniform inside."""
    own = rng.permutation(np.arange(brands) % len(PRICE_BANDS))
    other = (own[brand] + rng.integers(1, len(PRICE_BANDS), len(brand))) % len(PRICE_BANDS)
    band = np.where(rng.random(len(brand)) < 0.6, own[brand], other)
    edges = np.array([_PRICES[name] for name in PRICE_BANDS])[band]
    prices = np.exp(rng.uniform(np.log(edges[:, 0]), np.log(edges[:, 1])))
    pretty = np.floor(prices) + rng.choice([0.0, 0.49, 0.9, 0.99], len(brand))
    rounded: np.ndarray = np.round(np.clip(pretty, edges[:, 0], edges[:, 1]), 2)
    return rounded


def _days(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw the day each item appears: most on day 0, some over the year, some in the last month."""
    days = np.zeros(count, dtype=int)
    order = rng.permutation(count)
    late = round(LATE_SHARE * count)
    days[order[:late]] = rng.integers(LAST_MONTH, DAYS - 3, late)
    days[order[late : 2 * late]] = rng.integers(1, LAST_MONTH, len(order[late : 2 * late]))
    return days


def _split(items: Sequence[ItemTruth], seed: int) -> list[str]:
    """Keep a fifth of the items apart, among those of the last month as among all others."""
    rng = np.random.default_rng([seed, 103])
    split = np.full(len(items), "train")
    late = np.array([item.added_day >= LAST_MONTH for item in items])
    for part in (late, ~late):
        inside = rng.permutation(np.flatnonzero(part))
        split[inside[: round(TEST_SHARE * len(inside))]] = "test"
    return [str(name) for name in split]


def _write_pictures(
    items: Sequence[ItemTruth], folder: Path, seed: int, progress: Progress
) -> None:
    """Draw all pictures."""
    folder.mkdir(exist_ok=True)
    pictured = [item for item in items if item.has_picture]
    for done, item in enumerate(pictured, 1):
        (folder / f"{item.item_id}.jpg").write_bytes(picture_bytes(item, seed))
        progress("drawing", done, len(pictured))


def picture_bytes(item: ItemTruth, seed: int) -> bytes:
    """Draw the picture of an item as a JPEG file."""
    stream = io.BytesIO()
    draw(item, seed).save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return stream.getvalue()
