"""The values that items have (`red`, `cotton`, `stroller`), and the words people use for them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from mllm_srec.store.home import Home
from mllm_srec.store.records import UNKNOWN, Item, Representation
from mllm_srec.tools.errors import CannotDo
from mllm_srec.tools.spelling import Spellings

CLOSE = 0.8
"""Likeness (difflib's ratio) from which a word counts as a misspelt value: `stoller`, `grren`."""
SHORTEST_GUESS = 4
"""Letters below which no misspelling is guessed: `rad` may be anything."""
SHORTEST_STEM = 3
"""Letters below which no `dotted` is made of `dot`."""
NEAR = 0.7
"""Likeness from which a value is offered in the place of a word that names none."""
RARE = 1 / 200
"""Values with less than this share of the most common one's items are not offered: most often they
are words of a title that the model took for a brand."""
OFFERED = 5
"""Kinds that are offered where no value is near."""
FILLING = frozenset({
    "the", "a", "an", "one", "ones", "that", "this", "those", "these", "it", "its", "they", "them",
    "thing", "things", "item", "items", "stuff", "something", "anything", "some", "any", "only",
    "made", "of", "in", "with", "for", "from", "to", "at", "on", "by", "as", "or", "and", "but",
    "is", "are", "be", "i", "i'm", "me", "my", "you", "your", "no", "not", "like", "just", "very",
    "really", "want", "need", "show", "find", "get", "color", "colour", "coloured", "please",
    "pls", "plz",
})  # fmt: skip
"""Words of a wish or a description that tell nothing: `that green one`, `something of wood`."""


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
            CannotDo: No item has such a value; the message names near ones, or kinds of things.
        """
        found = self.values(words)
        if not found:
            raise self.unknown([words])
        return found

    def unknown(self, words: Sequence[str]) -> CannotDo:
        """That no item is what some words say, with what else may be asked for."""
        kinds = [value for value in self._usual if self.attributes.get(value) == "what"]
        told = self.none_is(words)
        if kinds and not any(map(self.near, words)):
            told += f"; kinds here are {', '.join(kinds[:OFFERED])}"
        return CannotDo(told)

    def none_is(self, words: Sequence[str]) -> str:
        """The same as a remark, with near values alone."""
        near = list(dict.fromkeys(value for each in words for value in self.near(each)))
        hint = f"; near are {', '.join(near)}" if near else ""
        return f"no item here is {' or '.join(map(repr, words))}{hint}"

    def near(self, words: str) -> list[str]:
        """Up to three values like some words that name none: first those that begin alike."""
        found: list[str] = []
        for word in (each for each in value_of(words).split() if each not in FILLING):
            spelt = self._spellings.near(word, 3, cutoff=NEAR)
            found += [value for value in self._usual if _akin(word, value)]
            found += [value for value in spelt if value in self._usual]
        return list(dict.fromkeys(found))[:3]

    def values(self, words: str) -> list[str]:
        """All values that some words name, longest first tried: `red cotton bib` names three."""
        return self.parted(words)[0]

    def parted(self, words: str) -> tuple[list[str], list[str]]:
        """The values that some words name, and the words that neither do nor are filling.

        Of `a red cotton submarine` that is `red` and `cotton`, and `submarine`.
        """
        tokens = value_of(words).split()
        found: list[str] = []
        left: list[str] = []
        start = 0
        while start < len(tokens):
            for stop in range(min(start + self._longest, len(tokens)), start, -1):
                match = self._match(" ".join(tokens[start:stop]))
                if match:
                    found.append(match)
                    start = stop
                    break
            else:
                left += [tokens[start]] if tokens[start] not in FILLING else []
                start += 1
        return list(dict.fromkeys(found)), list(dict.fromkeys(left))

    @cached_property
    def _usual(self) -> list[str]:
        """Values worth to be offered, most common first."""
        least = RARE * max(self.counts.values(), default=0)
        common = self.counts.most_common()
        return [value for value, count in common if count >= least and value != UNKNOWN]

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


def _akin(one: str, other: str) -> bool:
    """Whether the shorter one begins the longer: `preschool` and `preschooler`."""
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= SHORTEST_GUESS and longer.startswith(shorter)


def forms(phrase: str) -> Iterable[str]:
    """The phrase, and what it may be the plural, a shade or the noun of."""
    yield phrase
    endings: Sequence[tuple[str, str]] = (
        ("ies", "y"),
        ("es", ""),
        ("s", ""),
        ("", "s"),
        ("dish", ""),
        ("ish", ""),
        ("en", ""),
        ("", "en"),
    )
    for ending, instead in endings:
        if phrase.endswith(ending):
            yield phrase.removesuffix(ending) + instead
    # With dots, stripes or checks is dotted, striped or checked.
    for stem in (phrase, phrase.removesuffix("s")):
        if len(stem) >= SHORTEST_STEM:
            yield from (f"{stem}ed", f"{stem}{stem[-1]}ed")
            if stem.endswith("e"):
                yield f"{stem}d"
    yield phrase.replace("gray", "grey")
    yield phrase.replace("color", "colour")
