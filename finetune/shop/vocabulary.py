"""The closed vocabulary of drawn shops, and the truth about one of their items.

Every value stands under one attribute only, so that a word alone says which attribute it is of. The
picture shows what, colour, pattern and style; the text tells material, brand, price, purpose and
what the item suits.
"""

from dataclasses import dataclass

import numpy as np

DEPARTMENTS = ("baby", "sports", "beauty", "toys")

TYPES: dict[str, tuple[str, ...]] = {
    "baby": ("stroller", "bottle", "bib", "pacifier", "crib", "rattle", "romper", "blanket"),
    "sports": (
        "ball", "racket", "bicycle", "dumbbell", "sneaker", "backpack", "helmet", "skateboard",
    ),
    "beauty": ("lipstick", "perfume", "mirror", "comb", "cream", "polish", "brush", "soap"),
    "toys": ("train", "robot", "teddy", "kite", "drum", "puzzle", "blocks", "duck"),
}  # fmt: skip
"""Eight product types a department: the values of `what`."""

COLOURS = (
    "black", "white", "grey", "brown", "red", "orange", "yellow", "green", "turquoise", "blue",
    "purple", "pink",
)  # fmt: skip
PATTERNS = ("plain", "striped", "dotted", "checked", "zigzag", "starred")
STYLES = ("classic", "sporty", "playful", "elegant", "rustic")
PRICE_BANDS = ("budget", "mid", "premium")
PRICE_EDGES = (15.0, 40.0)
"""First prices of "mid" and of "premium", in the shop's currency."""

SUITS: dict[str, tuple[str, ...]] = {
    "baby": ("newborn", "infant", "toddler", "preschooler"),
    "sports": ("hiking", "tennis", "fitness", "cycling"),
    "beauty": ("dry", "oily", "sensitive", "mature"),
    "toys": ("memory", "dexterity", "rhythm", "speech"),
}
"""Whom or what an item suits: an age group, a sport, a type of skin, a skill."""

MATERIAL_POOL = (
    "cotton", "wool", "linen", "bamboo", "leather", "rubber", "silicone", "nylon", "polyester",
    "cork", "hemp", "steel", "aluminium", "acrylic", "resin", "canvas",
)  # fmt: skip

PURPOSE_SEASONS: dict[str, int | None] = {
    "travel": 7, "leisure": None, "birthdays": None, "picnics": 6, "camping": 8, "festivals": 7,
    "gardening": 5, "swimming": 7, "commuting": None, "weekends": None, "weddings": 6, "work": None,
    "school": 9, "christmas": 12, "easter": 4, "romance": 2, "parties": 12, "sightseeing": 5,
    "crafting": None, "evenings": 11,
}  # fmt: skip
"""The pool of purposes, each with the month of the year (1 to 12) it peaks in, if any."""

DAYS = 365
"""Days of the shop's year; day 0 is its first."""
LAST_MONTH = DAYS - 30
"""The first day of the last month."""

_SYLLABLES = (
    ("Nor", "Bel", "Kas", "Ven", "Tul", "Mar", "Dor", "Fel", "Gri", "Hal", "Jun", "Lor", "Pra",
     "Quo", "Ros", "Sil", "Tor", "Ul", "Vas", "Wen", "Yor", "Zan", "Bru", "Cal"),
    ("da", "le", "mi", "no", "ru", "va", "ti", "so", "ke", "la", "bi", "go"),
    ("ra", "lund", "via", "nex", "tto", "mel", "ris", "berg", "qua", "dan", "vik", "sen"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShopWords:
    """The words one shop uses of the open attributes."""

    brands: tuple[str, ...]
    materials: tuple[str, ...]
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemTruth:
    """All there is to know about one item of a drawn shop."""

    item_id: str
    department: str
    what: str
    colour: str
    pattern: str
    style: str
    material: str
    brand: str
    price_band: str
    price: float
    purpose: str
    suits: str
    text_colour: str | None
    """The colour the text names; None where it names none."""
    has_picture: bool
    bare_text: bool
    """True where the text is an article number or nothing."""
    noise: tuple[str, ...]
    """Names of the visual disturbances of the picture."""
    added_day: int
    """Day (0 to `DAYS` - 1) on which the shop starts to sell the item."""

    @property
    def contradicts(self) -> bool:
        """True where the text names another colour than the picture shows."""
        return self.has_picture and self.text_colour is not None


def brands(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Invent `count` distinct brand names, other ones for another generator state.

    Raises:
        ValueError: More names are asked for than syllables can make.
    """
    starts, middles, ends = _SYLLABLES
    possible = len(starts) * len(middles) * len(ends)
    if count > possible:
        raise ValueError(f"{count!r} brands asked for; at most {possible} can be invented")
    chosen = rng.choice(possible, size=count, replace=False)
    names = []
    for number in chosen:
        rest, end = divmod(int(number), len(ends))
        start, middle = divmod(rest, len(middles))
        names.append(starts[start] + middles[middle] + ends[end])
    return tuple(names)


def shop_words(seed: int) -> ShopWords:
    """Draw the words of one shop: 24 brands, 10 materials and 12 purposes of the pools."""
    rng = np.random.default_rng([seed, 101])
    return ShopWords(
        brands=brands(rng, 24),
        materials=_some(rng, MATERIAL_POOL, 10),
        purposes=_some(rng, tuple(PURPOSE_SEASONS), 12),
    )


def price_band(price: float) -> str:
    """Name the band of a price: `"budget"`, `"mid"` or `"premium"`."""
    return PRICE_BANDS[sum(price >= edge for edge in PRICE_EDGES)]


def _some(rng: np.random.Generator, pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Take `count` words of a pool, in the pool's order."""
    chosen = sorted(rng.choice(len(pool), size=count, replace=False))
    return tuple(pool[index] for index in chosen)
