"""Items by words, by a fused picture, or by another item.

Near vectors bring the items; those that have more of the words asked for come first, since a mean
of word vectors knows what belongs together better than what was named.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mllm_srec.store.home import Home
from mllm_srec.store.records import UNKNOWN, FusedItem
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.feedback import ruled_out, unless_ruled_out
from mllm_srec.tools.filters import ItemFilter, allowed_items
from mllm_srec.tools.items import ItemCard, cards, check_count, known_item
from mllm_srec.tools.sources import CHROMA, Search, tell_of
from mllm_srec.tools.values import Vocabulary, forms, value_of

Embed = Callable[[Sequence[str]], Awaitable[NDArray[np.float32]]]
"""Texts to unit vectors (N, D), by the model that made the vectors of the home."""

WIDTH = 200
"""Near items that are looked at for the words asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(ItemCard):
    """An item that a search brought."""

    similarity: float
    """Cosine of the vectors, -1 to 1."""


async def search_text(
    home: Home,
    embed: Embed,
    words: str,
    vocabulary: Vocabulary,
    *,
    count: int = 5,
    conditions: ItemFilter | None = None,
    user_id: str | None = None,
) -> list[Found]:
    """The items that some words describe, best first; those of a kind that they name before others.

    Args:
        home: The shop.
        embed: Texts to vectors.
        words: What is looked for.
        vocabulary: The values of the shop.
        count: Items at most.
        conditions: What an item must be.
        user_id: For whom they are: what the user never wants is left out.

    Raises:
        WrongCall: There are no words, or the count is not between 1 and `MAX_COUNT`.
        CannotDo: No item meets the conditions, or they ask for what the user never wants.
    """
    if not value_of(words):
        raise WrongCall(f"there is nothing to search in {words!r}: say what it should be")
    # Any program may hand in pages of text: other conversations go on while they are read.
    values = await asyncio.to_thread(vocabulary.values, words)
    wanted = frozenset((*values, *value_of(words).split()))
    kinds = frozenset(value for value in values if vocabulary.attributes.get(value) == "what")
    [vector] = await embed([words])
    chosen = _for_user(home, conditions, user_id)
    return await _near(home, vector, wanted, kinds, count, chosen)


def unknown_words(home: Home, words: str, vocabulary: Vocabulary) -> list[str]:
    """The words that stand in no title, text or value of the shop; misspelt values are known.

    What a search for them alone finds is near by chance. Reads the catalogue until all are found.
    """
    _, left = vocabulary.parted(words)
    of_values = {part for value in vocabulary.counts for part in value.split()}
    missing = {word: frozenset(forms(word)) for word in left}
    missing = {word: each for word, each in missing.items() if each.isdisjoint(of_values)}
    for item in home.catalogue.items().values() if missing else ():
        text = f"{item.title} {item.description} {item.keywords}".casefold()
        missing = {word: each for word, each in missing.items() if not _stands(each, text)}
        if not missing:
            break
    return list(missing)


def _stands(words: Iterable[str], text: str) -> bool:
    """Whether one of some words stands in a text, as a word of its own."""
    return any(
        word in text and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in words
    )


async def search_described(
    home: Home,
    embed: Embed,
    fused: FusedItem,
    *,
    count: int = 5,
    conditions: ItemFilter | None = None,
    user_id: str | None = None,
) -> list[Found]:
    """The items most like a description, such as that of a user's own picture; its kind first.

    What the user, if one is named, never wants is left out.

    Raises:
        WrongCall: The count is not between 1 and `MAX_COUNT`.
        CannotDo: No item meets the conditions, or they ask for what the user never wants.
    """
    [vector] = await embed([fused.line])
    wanted = frozenset(map(value_of, fused.facets()))
    kinds = frozenset({value_of(fused.what)} - {UNKNOWN})
    chosen = _for_user(home, conditions, user_id)
    return await _near(home, vector, wanted, kinds, count, chosen)


async def search_similar(
    home: Home,
    embed: Embed,
    item_id: str,
    *,
    count: int = 5,
    conditions: ItemFilter | None = None,
    user_id: str | None = None,
) -> list[Found]:
    """The items most like another one, without it.

    Args:
        home: The shop.
        embed: Texts to vectors.
        item_id: The other one.
        count: Items at most.
        conditions: What an item must be.
        user_id: For whom they are: what the user never wants, or has, is left out as in a
            recommendation.

    Raises:
        WrongCall: The item is unknown, or the count is not between 1 and `MAX_COUNT`.
        CannotDo: The item has no description yet, or no item meets the conditions, or they ask for
            what the user never wants.
    """
    known_item(home, item_id)
    entry = home.catalogue.representations([item_id]).get(item_id)
    if entry is None:
        raise CannotDo(f"{item_id!r} has no description yet: run `srec ingest` again")
    chosen = (conditions or ItemFilter()) & ItemFilter(exclude=(item_id,))
    if user_id is not None:
        owned = tuple(one.item_id for one in home.catalogue.history(user_id))
        chosen &= ItemFilter(exclude=owned)
    return await search_described(
        home, embed, entry.fused, count=count, conditions=chosen, user_id=user_id
    )


def _for_user(home: Home, conditions: ItemFilter | None, user_id: str | None) -> ItemFilter:
    """The conditions, without what the user never wants."""
    said = () if user_id is None else home.feedback.of(user_id)
    return unless_ruled_out(conditions or ItemFilter(), ruled_out(said))


async def _near(
    home: Home,
    vector: NDArray[np.float32],
    wanted: frozenset[str],
    kinds: frozenset[str],
    count: int,
    conditions: ItemFilter,
) -> list[Found]:
    check_count(count)
    # With conditions the whole catalogue is read, beside what else is under way.
    allowed = await asyncio.to_thread(allowed_items, home, conditions)
    started = time.time_ns()
    pairs = home.representations.nearest(vector, WIDTH, allowed)
    similarity = {item_id: 1.0 - distance for item_id, distance in pairs}
    tell_of(Search(CHROMA, started, time.time_ns(), found=similarity, passed={}))
    ids = list(similarity)
    items, fused = home.catalogue.items(ids), home.catalogue.representations(ids)

    def named(item_id: str) -> tuple[bool, int]:
        entry = fused.get(item_id)
        facets = map(value_of, entry.fused.facets()) if entry else ()
        item = items[item_id]
        own = {*facets, *value_of(f"{item.title} {item.brand}").split()}
        return entry is not None and value_of(entry.fused.what) in kinds, len(wanted & own)

    ids = sorted(item_id for item_id in ids if item_id in items)
    ids.sort(key=lambda item_id: (*named(item_id), similarity[item_id]), reverse=True)
    return [
        Found(
            item_id=card.item_id,
            title=card.title,
            line=card.line,
            price=card.price,
            similarity=round(similarity[card.item_id], 4),
        )
        for card in cards(home, ids[:count])
    ]
