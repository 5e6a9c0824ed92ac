"""What users say, with what it means: examples that teach a model to understand a turn.

Everything follows from a seed. What measures is made of phrasings that training never sees, so
that it measures what was understood and not what was remembered.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from typing import Any

import numpy as np

from mllm_srec.agent.conversation.intents import Understood, heard
from mllm_srec.agent.conversation.nodes import understand_prompt
from mllm_srec.finetune.data.phrasings import FIELDS, Group, Part, phrasings
from mllm_srec.finetune.data.spoken import slip, spoken
from mllm_srec.finetune.shop.vocabulary import (
    COLOURS,
    DEPARTMENTS,
    MATERIAL_POOL,
    PATTERNS,
    PRICE_BANDS,
    PURPOSE_SEASONS,
    STYLES,
    SUITS,
    TYPES,
    brands,
)
from mllm_srec.llm.engine import Prompt

ANSWERS_SHARE = 0.08
"""Share of the examples that answer a question of ours."""
INVENTED = 0.3
"""Share of values, titles and words that no shop has: a slot is copied, never known by heart."""
MISSPELT = 0.08

_LINES = ("Maple", "Comet", "Atlas", "Luma", "Fjord", "Rondo", "Velo", "Saga", "Pebble", "Orbit")
_NAMES = (
    "anna", "ben", "u17", "u0042", "my sister", "Tom", "maria", "user 12", "dad", "li wei",
    "Mrs Jones", "mum", "my wife", "Kofi", "u3", "customer 9", "olga", "my brother", "Ahmed",
)  # fmt: skip
_JUNK = (
    "paris", "quantum physics", "my cat", "football", "dinner", "rain", "bitcoin", "a pirate",
    "the moon", "taxes", "pizza", "my homework", "python", "the president", "love", "berlin",
    "a dragon", "the stock market", "black holes", "my boss", "chess", "the news", "spain",
    "cooking", "history", "my car", "the sea", "my neighbour", "cats", "a haiku", "autumn",
)  # fmt: skip
_GIBBERISH = (
    "asdf", "qwertz", "qwerty", "blah", "blah blah", "xyzzy", "foo bar", "lorem ipsum", "hgjk",
    "aaaa", "zzz", "123 456", "test", "testing", "la la la", "sdkfjh", "1234567", "jkl jkl",
    "tralala", "beep boop", "abc", "dsfsdf", "mmmm", "yada yada", "wibble", "uiop",
)  # fmt: skip
_COUNTS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve",
    "a couple", "a few", "a dozen", "a handful",
)  # fmt: skip
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "last", "2nd", "3rd")
_HEADS = ("br", "cl", "d", "fl", "g", "k", "m", "pl", "s", "st", "t", "v")
_VOWELS = ("a", "e", "i", "o", "u", "oo", "ea")
_TAILS = ("ck", "ll", "m", "nd", "p", "rt", "x", "")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One message after what went before, and what it means."""

    before: str
    said: str
    """As the prompt shows it."""
    understood: Understood
    phrasing: str
    """The frame behind it, with its choices made."""

    @property
    def prompt(self) -> Prompt:
        """The prompt, word for word as serving asks it."""
        return understand_prompt(self.before, self.said)

    @property
    def answer(self) -> str:
        """The answer to learn."""
        return self.understood.compact


def utterances(count: int, *, seed: int, part: Part) -> Iterator[Utterance]:
    """Yield examples made of the phrasings of one part."""
    rng = random.Random(seed)
    fill = Filler(rng)
    grammar = phrasings()
    talk, replies = _Deck(grammar.talk, part), _Deck(grammar.answers, part)
    for _ in range(count):
        group, frame = (replies if rng.random() < ANSWERS_SHARE else talk).draw(rng)
        yield _utterance(group, rng.choice(frame), rng.choice(group.before), fill)


class _Deck:
    """Frames to draw from: intents by their shares, frames by the root of their phrasings."""

    def __init__(self, groups: Sequence[Group], part: Part) -> None:
        shares = phrasings().shares
        self._cards = [(group, frame) for group in groups for frame in group.of_part(part)]
        groups_of: dict[str, float] = {}
        frames_of: dict[int, float] = {}
        for group, frame in self._cards:
            frames_of[id(group)] = frames_of.get(id(group), 0.0) + sqrt(len(frame))
        for group in groups:
            if id(group) in frames_of:
                groups_of[group.intent] = groups_of.get(group.intent, 0.0) + group.weight
        weights = (
            shares[group.intent] * group.weight / groups_of[group.intent]
            * sqrt(len(frame)) / frames_of[id(group)]
            for group, frame in self._cards
        )  # fmt: skip
        self._up_to = list(accumulate(weights))

    def draw(self, rng: random.Random) -> tuple[Group, tuple[str, ...]]:
        """A group, and one of its frames as its phrasings."""
        return rng.choices(self._cards, cum_weights=self._up_to)[0]


def _utterance(group: Group, phrasing: str, before: str, fill: "Filler") -> Utterance:
    drawn = phrasings().drawn
    whole = re.sub(
        r"\{(\w+)\}",
        lambda m: fill.rng.choice(drawn[m[1]]) if m[1] in drawn else m[0],
        phrasing,
    )
    carrier, shouted = spoken(whole, fill.rng)
    slots: dict[str, list[str]] = {}

    def put(match: re.Match[str]) -> str:
        words = fill(match[1])
        words = words.upper() if shouted else words
        slots.setdefault(FIELDS.get(match[1], match[1]), []).append(words)
        return words

    said = heard(re.sub(r"\{(\w+)\}", put, carrier))
    return Utterance(before, said, _understood(group, slots), phrasing)


def _understood(group: Group, slots: Mapping[str, Sequence[str]]) -> Understood:
    named: dict[str, Any] = {}
    for slot, words in slots.items():
        if slot in ("having", "without"):
            named[slot] = tuple(words[:4])
        elif slot in Understood.model_fields and group.intent != "other":
            named[slot] = words[0]
    return Understood(intent=group.intent, **group.fixed, **named)


class Filler:
    """Draws the words of slots."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._brands = brands(np.random.default_rng(7), 40)
        self._purposes = (*PURPOSE_SEASONS, *SUITS["baby"], *SUITS["sports"])
        self._values = (
            *COLOURS, *PATTERNS, *STYLES, *PRICE_BANDS, *MATERIAL_POOL, *PURPOSE_SEASONS,
            *sum(SUITS.values(), ()), *self._brands,
        )  # fmt: skip
        self._looks = (*COLOURS, *PATTERNS, *STYLES, *MATERIAL_POOL, *self._brands)
        self._types = sum(TYPES.values(), ())
        self._departments = (*DEPARTMENTS, *DEPARTMENTS, "kitchen", "garden", "pets", "office")
        self._slots: dict[str, Callable[[], str]] = {
            "k": self._count,
            "having": self._value_or_kind,
            "without": self._value_or_kind,
            "value": self._value,
            "no_value": self._value,
            "known": lambda: rng.choice(self._looks),
            "material": lambda: self._or_invented(MATERIAL_POOL),
            "purpose": lambda: self._or_invented(self._purposes),
            "kinds": lambda: _plural(self._or_invented(self._types)),
            "dept": lambda: rng.choice(self._departments),
            "goods": lambda: rng.choice(("toys", "toys", "toys", "books", "clothes", "games")),
            "under": self._price,
            "over": self._price,
            "under_word": lambda: rng.choice(("cheaper", "less expensive", "more affordable")),
            "over_word": lambda: rng.choice(("pricier", "more expensive", "dearer")),
            "item": self._item,
            "second": self._item,
            "words": self._words,
            "products": lambda: self._products(_plural(self._or_invented(self._types))),
            "name": lambda: rng.choice(_NAMES),
            "junk": lambda: rng.choice(_JUNK),
            "gibberish": lambda: rng.choice(_GIBBERISH),
        }

    def __call__(self, slot: str) -> str:
        """Words for a slot, some in lower case, some misspelt."""
        words = self._slots[slot]()
        if self.rng.random() < 0.6:
            words = words.lower()
        return slip(words, self.rng) if self.rng.random() < MISSPELT else words

    def _count(self) -> str:
        rng = self.rng
        return str(rng.randint(1, 15)) if rng.random() < 0.5 else rng.choice(_COUNTS)

    def _value(self) -> str:
        return self._or_invented(self._values)

    def _value_or_kind(self) -> str:
        if self.rng.random() < 0.75:
            return self._value()
        kind = self._or_invented(self._types)
        return _plural(kind) if self.rng.random() < 0.6 else kind

    def _price(self) -> str:
        rng = self.rng
        amount = rng.choice((5, 8, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 75, 100, 150))
        forms = (
            f"{amount}", f"{amount}", f"${amount}", f"{amount}€", f"{amount} bucks", f"£{amount}",
            f"{amount} dollars", f"{amount} euros", f"{amount}.50", f"{amount - 0.01:.2f}",
        )  # fmt: skip
        words = ("ten", "fifteen", "twenty", "thirty dollars", "forty", "fifty bucks", "a hundred")
        return rng.choice(words) if rng.random() < 0.2 else rng.choice(forms)

    def _item(self) -> str:
        rng = self.rng
        place, ordinal = rng.randint(1, 10), rng.choice(_ORDINALS)
        kind = rng.random()
        if kind < 0.5:
            return rng.choice(
                (
                    f"{place}", f"{place}", f"{place}", f"#{place}", f"number {place}",
                    f"no. {place}", f"the {ordinal}", f"the {ordinal} one", f"item {place}",
                )
            )  # fmt: skip
        if kind < 0.6:
            return rng.choice(("it", "that", "this", "that one", "this one"))
        if kind < 0.8:
            colour, what = rng.choice(COLOURS), rng.choice((*self._types, "one"))
            return rng.choice((f"the {colour} {what}", f"the {what}", f"the {self._value()} one"))
        return self._title()

    def _title(self) -> str:
        rng = self.rng
        line = self._invented().title() if rng.random() < INVENTED else rng.choice(_LINES)
        number, brand = rng.randint(1, 29), rng.choice(self._brands)
        what = rng.choice(self._types)
        return rng.choice(
            (
                f"{line} No. {number}", f"{brand} {line}", f"{line} {what}", f"{line} {number}",
                f"the {line} {what}", f"i{number:04d}", f"{line} & {rng.choice(_LINES)}",
                f"the {brand} {what}",
            )
        )  # fmt: skip

    def _words(self) -> str:
        rng = self.rng
        what = self._or_invented(self._types)
        if rng.random() < 0.4:
            return self._products(_plural(what))
        words = self._products(what)
        return f"a {words}" if rng.random() < 0.35 else words

    def _products(self, what: str) -> str:
        rng = self.rng
        value, other = rng.choice(self._values), rng.choice(self._values)
        return rng.choice(
            (
                what, what, f"{value} {what}", f"{value} {what}", f"{value} {other} {what}",
                f"{what} for {rng.choice(self._purposes)}", f"{what} with {value}",
                f"{what} made of {rng.choice(MATERIAL_POOL)}",
                f"{rng.choice(self._brands)} {what}",
            )
        )  # fmt: skip

    def _or_invented(self, options: Sequence[str]) -> str:
        return self._invented() if self.rng.random() < INVENTED else self.rng.choice(options)

    def _invented(self) -> str:
        """A word that no shop has."""
        choice = self.rng.choice
        heads = (choice(_HEADS) + choice(_VOWELS) + choice(_TAILS) for _ in range(choice((1, 2))))
        return "".join(heads) + choice(("", "", "y", "er"))


def _plural(noun: str) -> str:
    if noun.endswith("blocks"):
        return noun
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("sh", "x", "s")) else f"{noun}s"
