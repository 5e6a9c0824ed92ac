"""Teacher (b): descriptions by rule from a catalogue's text fields, where nobody annotated it.

The later steps are then counted over these descriptions, as teacher (a) does.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mllm_srec.agent.nodes.fuse_items import VisualAnswer, item_text, one_line, price_band
from mllm_srec.finetune.data.teacher import Annotation
from mllm_srec.store.home import Home
from mllm_srec.store.records import MAX_WORD, UNKNOWN, FusedItem, Item

CATEGORIES = 4
KEYWORDS = 3
"""Values of a field that a description names at most."""
_COMMON = 0.5
"""A category of more than this share of the items tells none from another."""
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def annotate_catalogue(home: Home) -> dict[str, Annotation]:
    """Describe every item of a home by its text fields.

    What the home's descriptions say of the pictures is kept: nobody labelled those.
    """
    looks = {
        item_id: VisualAnswer(what=known.fused.what, seen=known.fused.seen)
        for item_id, known in home.catalogue.representations().items()
        if known.fused.seen and not known.fallback
    }
    return annotate_items(home.catalogue.items(), looks)


def annotate_items(
    items: Mapping[str, Item], looks: Mapping[str, VisualAnswer]
) -> dict[str, Annotation]:
    """Describe items by category, brand, year, price and keywords, and by what was seen."""
    counts = Counter(name for item in items.values() for name in _words(item.categories))
    common = {name for name, count in counts.items() if count > _COMMON * len(items)}
    return {item_id: _annotate(item, looks.get(item_id), common) for item_id, item in items.items()}


def _annotate(item: Item, look: VisualAnswer | None, common: set[str]) -> Annotation:
    # Prompts show the beginning of a long field: what lies behind it cannot be learned.
    text = item_text(item)
    names = [name for name in _words(item.categories) if name in text]
    # The last one is the narrowest where categories are a path, and any where they are genres.
    telling = [name for name in names if name not in common] or names
    what = look.what if look else telling[-1] if telling else UNKNOWN
    told = dict(_numbered("category", [name for name in telling if name != what][-CATEGORIES:]))
    if brand := one_line(item.brand, MAX_WORD):
        told["brand"] = brand
    if year := _YEAR.search(item.title):
        told["year"] = year[1]
    if price := price_band(item.price):
        told["price"] = price
    keywords = [word for word in _words(re.split(r"[,;|]", item.keywords)) if word != what]
    told |= _numbered("keyword", keywords[:KEYWORDS])
    kept = {name: value for name, value in told.items() if value in text}
    return Annotation(look, FusedItem(what=what, seen=look.seen if look else {}, told=kept))


def _words(values: Iterable[str]) -> Iterator[str]:
    """Yield the distinct values that can stand in a description, in order."""
    lines = (one_line(value, MAX_WORD + 1) for value in values)
    yield from dict.fromkeys(line for line in lines if 0 < len(line) <= MAX_WORD)


def _numbered(name: str, values: Iterable[str]) -> dict[str, str]:
    return {name if n == 1 else f"{name} {n}": value for n, value in enumerate(values, 1)}
