"""The values that items have (`red`, `cotton`, `stroller`), and the words people use for them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from mllm_srec.store.home import Home
from mllm_srec.store.records import Item, Representation
from mllm_srec.tools.errors import CannotDo
from mllm_srec.tools.spelling import Spellings

CLOSE = 0.8
"""Likeness (difflib's ratio) from which a word counts as a misspelt value: `stoller`, `grren`."""
SHORTEST_GUESS = 4
"""Letters below which no misspelling is guessed: `rad` may be anything."""


def value_of(text: str) -> str:
    """A value as it is compared: case and spacing do not count."""
    return " ".join(re.findall(r"[\w'&.-]+", text.casefold()))


def item_values(item: Item, entry: Representation | None) -> frozenset[str]:
    """Everything that may be wished for or ruled out in an item."""
    return frozenset(item_attributes(item, entry))


def item_attributes(item: Item, entry: Representation | None) -> dict[str, str]:
    """The values of an item, each with the name of its attribute: `{"bib": "what"}`."""
    named = {
        value_of(value): name
        for name, value in (
            *(("category", category) for category in item.categories),
            ("brand", item.brand),
            *(entry.fused.attributes() if entry else ()),
        )
    }
    named.pop("", None)
    return named


@dataclass(frozen=True)
class Vocabulary:
    """The values of a shop, by how many items have them."""

    counts: Counter[str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Of each value the name of its attribute, as most items have it: `{"bib": "what"}`."""

    @classmethod
    def of(cls, home: Home) -> Self:
        """Count the values of all items; reads the whole catalogue."""
        fused = home.catalogue.representations()
        named: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for item_id, item in home.catalogue.items().items():
            for value, name in item_attributes(item, fused.get(item_id)).items():
                named[value][name] += 1
        return cls(
            Counter({value: names.total() for value, names in named.items()}),
            {value: names.most_common(1)[0][0] for value, names in named.items()},
        )

    def value(self, words: str) -> str:
        """The first value that some words name.

        Raises:
            CannotDo: No item has such a value; the message names near ones.
        """
        return self.named(words)[0]

    def named(self, words: str) -> list[str]:
        """All values that some words name, at least one.

        Raises:
            CannotDo: No item has such a value; the message names near ones.
        """
        found = self.values(words)
        if not found:
            near = self._spellings.near(value_of(words), 3, cutoff=0.6)
            hint = f"; near are {', '.join(near)}" if near else ""
            raise CannotDo(f"no item here is {words!r}{hint}")
        return found

    def values(self, words: str) -> list[str]:
        """All values that some words name, longest first tried: `red cotton bib` names three."""
        tokens = value_of(words).split()
        found: list[str] = []
        start = 0
        while start < len(tokens):
            for stop in range(min(start + self._longest, len(tokens)), start, -1):
                match = self._match(" ".join(tokens[start:stop]))
                if match:
                    found.append(match)
                    start = stop
                    break
            else:
                start += 1
        return list(dict.fromkeys(found))

    @cached_property
    def _longest(self) -> int:
        """Words that a value can be said in: one more than any has, as `back pack` for backpack."""
        return 1 + max((len(value.split()) for value in self.counts), default=0)

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self.counts)

    def _match(self, phrase: str) -> str | None:
        for form in forms(phrase):
            if form in self.counts:
                return form
        if len(phrase) < SHORTEST_GUESS:
            return None
        return next(iter(self._spellings.near(phrase, 1, cutoff=CLOSE)), None)


def forms(phrase: str) -> Iterable[str]:
    """The phrase, and what it may be the plural or a shade of."""
    yield phrase
    endings: Sequence[tuple[str, str]] = (
        ("ies", "y"),
        ("es", ""),
        ("s", ""),
        ("", "s"),
        ("dish", ""),
        ("ish", ""),
        ("en", ""),
    )
    for ending, instead in endings:
        if phrase.endswith(ending):
            yield phrase.removesuffix(ending) + instead
    yield phrase.replace("gray", "grey")
    yield phrase.replace("color", "colour")
