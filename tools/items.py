"""Items as tools hand them out: a card in a list, details on request, and items by their words."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Self

from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Item, Representation, Spelling
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.values import FILLING, forms, item_values, value_of

SHORT = 120
"""Characters of a title on a card."""
MAX_COUNT = 100
"""Items of one result at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCard:
    """An item in a list: enough to recognise it, and its id for more."""

    item_id: str
    title: str
    line: str
    """The fused description in one line."""
    price: float | None = None

    @property
    def named(self) -> str:
        """The item in a sentence: `Maple train [t1]`."""
        return f"{self.title or 'untitled'} [{self.item_id}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDetails(ItemCard):
    """Everything that is known about an item."""

    brand: str
    categories: tuple[str, ...]
    description: str
    keywords: str
    seen: Mapping[str, str]
    """Attributes read off the picture."""
    told: Mapping[str, str]
    """Attributes stated by the text."""
    conflicts: Mapping[str, str]
    """What the text says otherwise than the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two items side by side."""

    first: ItemCard
    second: ItemCard
    both: tuple[str, ...]
    """Values that both have."""
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    price_difference: float | None = None
    """The second's price less the first's; None where one is unknown."""


def check_count(count: int) -> None:
    """Check how many items are asked for.

    Raises:
        WrongCall: It is not between 1 and `MAX_COUNT`.
    """
    if not 1 <= count <= MAX_COUNT:
        raise WrongCall(f"count is {count!r}: ask for 1 to {MAX_COUNT} items")


def known_item(home: Home, item_id: str) -> Item:
    """The item of an id.

    Raises:
        WrongCall: There is no item of that id.
    """
    item = home.catalogue.item(item_id)
    if item is None:
        raise WrongCall(f"no item has the id {item_id!r}: search for it first")
    return item


def cards(home: Home, item_ids: Sequence[str]) -> list[ItemCard]:
    """Cards in the order of the ids; unknown ids are left out."""
    items, fused = home.catalogue.items(item_ids), home.catalogue.representations(item_ids)
    return [
        ItemCard(
            item_id=item_id,
            title=_title(items[item_id]),
            line=fused[item_id].fused.line if item_id in fused else "",
            price=items[item_id].price,
        )
        for item_id in item_ids
        if item_id in items
    ]


def item_details(home: Home, item_id: str) -> ItemDetails:
    """All that is known about one item.

    Raises:
        WrongCall: There is no item of that id.
    """
    item, fused = _known(home, item_id)
    return ItemDetails(
        item_id=item_id,
        title=item.title,
        line=fused.line if fused else "",
        price=item.price,
        brand=item.brand,
        categories=item.categories,
        description=item.description,
        keywords=item.keywords,
        seen=dict(fused.seen) if fused else {},
        told=dict(fused.told) if fused else {},
        conflicts=dict(fused.conflicts) if fused else {},
    )


def compare(home: Home, first: str, second: str) -> Comparison:
    """What two items share, and what only one of them has.

    Raises:
        WrongCall: One id is unknown, or both are the same.
    """
    if first == second:
        raise WrongCall(f"{first!r} is the same item twice: name two")
    one, two = (_values(*_known(home, item_id)) for item_id in (first, second))
    named_by_one, named_by_two = Spelling(one), Spelling(two)
    left, right = cards(home, [first, second])
    here, there = left.price, right.price
    return Comparison(
        first=left,
        second=right,
        both=tuple(value for value in one if value in named_by_two),
        only_first=tuple(value for value in one if value not in named_by_two),
        only_second=tuple(value for value in two if value not in named_by_one),
        price_difference=None if here is None or there is None else round(there - here, 2),
    )


def find_item(home: Home, words: str, among: Sequence[str] = (), before: Sequence[str] = ()) -> str:
    """The id of the one item that some words mean.

    Args:
        home: Where to look.
        words: An id, a title or a part of it, or words of title and values.
        among: Items that are looked through first, such as those on the screen.
        before: Items that are looked through next, such as those of the lists before.

    Raises:
        CannotDo: No item is called so.
        WrongCall: The words fit several items; the message names some.
    """
    if home.catalogue.item(words.strip()) is not None:
        return words.strip()
    wanted = value_of(words)
    # The whole catalogue is read only where what was shown does not settle it.
    places = [cache(partial(_Called.of, home, ids)) for ids in (among, before) if ids]
    places.append(cache(partial(_Called.of, home, None)))
    # A likeness on the screen does not stand before the very title elsewhere.
    exact, near = (_Called.exactly, _Called.titled, _Called.described), (_Called.nearly,)
    for items, by in (*product(places, exact), *product(places, near)):
        found = by(items(), wanted)
        if len(found) == 1:
            return found[0]
        if found:
            some = "; ".join(card.named for card in cards(home, found[:3]))
            raise WrongCall(f"{words!r} fits {len(found)} items: {some}. Say which")
    raise CannotDo(f"no item here is called {words!r}: name it by its title, or search for it")


@dataclass(frozen=True, slots=True)
class _Called:
    """Items by what they may be called."""

    titles: Mapping[str, str]
    words: Mapping[str, frozenset[str]]
    """Those of the title and of the values."""

    @classmethod
    def of(cls, home: Home, ids: Iterable[str] | None) -> Self:
        items, fused = home.catalogue.items(ids), home.catalogue.representations(ids)
        titles = {item_id: value_of(item.title) for item_id, item in items.items()}
        words = {
            item_id: frozenset({*titles[item_id].split(), *_value_words(item, fused.get(item_id))})
            for item_id, item in items.items()
        }
        return cls(titles, words)

    def exactly(self, wanted: str) -> list[str]:
        """Those of that title."""
        return [item_id for item_id, title in self.titles.items() if wanted and title == wanted]

    def titled(self, wanted: str) -> list[str]:
        """Those with the words in their title as they stand; one word alone may be a value."""
        words = wanted.split()
        while words and words[0] in FILLING:
            words = words[1:]
        while words and words[-1] in FILLING:
            words = words[:-1]
        phrase = f" {' '.join(words)} "
        titles = self.titles.items()
        return [each for each, title in titles if len(words) > 1 and phrase in f" {title} "]

    def described(self, wanted: str) -> list[str]:
        """Those with all the words, or what they are the plural or a shade of."""
        asked = [frozenset(forms(word)) for word in wanted.split() if word not in FILLING]
        return [
            item_id
            for item_id, own in self.words.items()
            if asked and all(each & own for each in asked)
        ]

    def nearly(self, wanted: str) -> list[str]:
        """Those with a title near to it."""
        bare = " ".join(word for word in wanted.split() if word not in FILLING)
        titles = sorted(set(self.titles.values()))
        near = difflib.get_close_matches(wanted, titles, 1, 0.85)
        if bare and not near:
            near = difflib.get_close_matches(bare, titles, 1, 0.85)
        return [item_id for item_id, title in self.titles.items() if title and title in near]


def _value_words(item: Item, entry: Representation | None) -> set[str]:
    return {word for value in item_values(item, entry) for word in value.split()}


def _known(home: Home, item_id: str) -> tuple[Item, FusedItem | None]:
    item = known_item(home, item_id)
    entry = home.catalogue.representations([item_id]).get(item_id)
    return item, entry.fused if entry else None


def _values(item: Item, fused: FusedItem | None) -> list[str]:
    told = (*(fused.facets() if fused else ()), *filter(None, (item.brand,)))
    return list(dict.fromkeys(map(Spelling(), told)))


def _title(item: Item) -> str:
    title = " ".join(item.title.split())
    return title if len(title) <= SHORT else f"{title[: SHORT - 1]}…"
