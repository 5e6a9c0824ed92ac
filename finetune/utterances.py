"""What users say, with what it means: examples that teach a model to understand a turn.

Everything follows from a seed. Every fifth phrasing is held out: training never sees it, so that
it measures what was understood and not what was remembered.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np

from mllm_srec.agent.conversation.intents import Understood, heard
from mllm_srec.agent.conversation.nodes import understand_prompt
from mllm_srec.finetune.phrasings import Group, phrasings
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
from mllm_srec.finetune.teacher import share
from mllm_srec.llm.engine import Prompt

HELD_OUT = 0.2
"""Share of the phrasings that only measure."""
FEW = 3
"""Phrasings of a group up to which all may be trained on."""
ANSWERS_SHARE = 0.08
"""Share of the examples that answer a question of ours."""
INVENTED = 0.3
"""Share of values, titles and words that no shop has: a slot is copied, never known by heart."""
MISSPELT = 0.08
SLIPS = 0.12
"""Share of the messages with a slip of the fingers outside the slots."""

Part = Literal["train", "held_out"]
Rng = np.random.Generator
T = TypeVar("T")

_SLANG = {
    "you": "u", "please": "pls", "are": "r", "what": "wat", "want to": "wanna", "thanks": "thx",
    "something": "sth", "because": "cuz", "to me": "2 me", "for me": "4 me", "don't": "dont",
    "i am": "im", "give me": "gimme", "what's": "whats", "would": "wud", "though": "tho",
}  # fmt: skip
_OPENINGS = ("", "", "", "hi, ", "hey ", "ok ", "well, ", "so ", "hmm ", "please ", "um, ", "yo ")
_CLOSINGS = ("", "", "", "", "!", "?", ".", " :)", " thx", "...", "??")
_LINES = ("Maple", "Comet", "Atlas", "Luma", "Fjord", "Rondo", "Velo", "Saga", "Pebble", "Orbit")
_NAMES = ("anna", "ben", "u17", "u0042", "my sister", "Tom", "maria", "user 12", "dad", "li wei")
_JUNK = (
    "paris", "quantum physics", "my cat", "blah", "asdf", "football", "hotel", "dinner", "rain",
    "bitcoin", "a pirate", "xyzzy", "the moon", "taxes", "pizza", "my homework",
)  # fmt: skip
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
    """The frame behind it."""

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
    rng = np.random.default_rng(seed)
    fill = Filler(rng)
    grammar = phrasings()
    talk, replies = _of_part(grammar.talk, part), _of_part(grammar.answers, part)
    for _ in range(count):
        groups = replies if rng.random() < ANSWERS_SHARE else talk
        weights = np.array([group.weight for group in groups])
        group = groups[int(rng.choice(len(groups), p=weights / weights.sum()))]
        frame = _pick(rng, group.frames)
        yield _utterance(group, frame, _pick(rng, group.before), fill)


def held_out(group: Group) -> frozenset[str]:
    """The phrasings of a group that only measure: every fifth, and one at least of several."""
    shares = {frame: share(frame, "phrasing") for frame in group.frames}
    chosen = {frame for frame, each in shares.items() if each < HELD_OUT}
    if not chosen and len(shares) > FEW:
        chosen = {min(shares, key=lambda frame: shares[frame])}
    return frozenset(chosen)


def _of_part(groups: Sequence[Group], part: Part) -> list[Group]:
    chosen = []
    for group in groups:
        measured = held_out(group)
        frames = tuple(each for each in group.frames if (each in measured) == (part != "train"))
        if frames:
            chosen.append(replace(group, frames=frames))
    return chosen


def _utterance(group: Group, frame: str, before: str, fill: "Filler") -> Utterance:
    carrier = _spoken(expand(frame, fill.rng), fill.rng)
    slots: dict[str, list[str]] = {}

    def put(match: re.Match[str]) -> str:
        words = fill(match[1])
        slots.setdefault(match[1], []).append(words)
        return words

    said = heard(re.sub(r"\{(\w+)\}", put, carrier))
    return Utterance(before, said, _understood(group, slots), frame)


def _understood(group: Group, slots: Mapping[str, Sequence[str]]) -> Understood:
    named: dict[str, Any] = {}
    for slot, words in slots.items():
        if slot in ("having", "without"):
            named[slot] = tuple(words[:4])
        elif slot == "under_word":
            named["under"] = words[0]
        elif slot == "dept":
            named["department"] = words[0]
        elif slot not in ("name", "junk") and group.intent != "other":
            named[slot] = words[0]
    return Understood(intent=group.intent, **group.fixed, **named)


def expand(frame: str, rng: Rng) -> str:
    """A frame with its parts put in and its choices made; slots stay."""
    parts = phrasings().parts
    while True:
        text = re.sub(r"\{(\w+)\}", lambda m: parts.get(m[1], m[0]), frame)
        text = re.sub(r"\(([^()]*)\)", lambda m: _pick(rng, m[1].split("|")), text)
        if text == frame:
            return " ".join(text.split())
        frame = text


class Filler:
    """Draws the words of slots."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self._brands = brands(np.random.default_rng(7), 40)
        self._values = (
            *COLOURS, *PATTERNS, *STYLES, *PRICE_BANDS, *MATERIAL_POOL, *PURPOSE_SEASONS,
            *sum(SUITS.values(), ()), *self._brands,
        )  # fmt: skip
        self._types = sum(TYPES.values(), ())
        self._slots: dict[str, Callable[[], str]] = {
            "k": self._count,
            "having": self._value,
            "without": self._value,
            "dept": lambda: _pick(rng, (*DEPARTMENTS, *DEPARTMENTS, "kitchen", "garden", "books")),
            "under": self._price,
            "over": self._price,
            "under_word": lambda: _pick(rng, ("cheaper", "less expensive", "more affordable")),
            "item": self._item,
            "second": self._item,
            "words": self._words,
            "name": lambda: _pick(rng, _NAMES),
            "junk": lambda: _pick(rng, _JUNK),
        }

    def __call__(self, slot: str) -> str:
        """Words for a slot, some in lower case, some misspelt."""
        words = self._slots[slot]()
        if self.rng.random() < 0.6:
            words = words.lower()
        return _slip(words, self.rng) if self.rng.random() < MISSPELT else words

    def _count(self) -> str:
        words = (
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "ten",
            "a couple",
            "a few",
            "a dozen",
        )
        return str(self.rng.integers(1, 16)) if self.rng.random() < 0.5 else _pick(self.rng, words)

    def _value(self) -> str:
        if self.rng.random() < INVENTED:
            return self._invented()
        kinds = _pick(self.rng, (self._values, self._values, self._types))
        value = _pick(self.rng, kinds)
        return f"{value}s" if kinds is self._types and self.rng.random() < 0.6 else value

    def _price(self) -> str:
        amount = int(self.rng.choice((5, 8, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 75, 100, 150)))
        forms = (
            f"{amount}", f"{amount}", f"${amount}", f"{amount}€", f"{amount} bucks",
            f"{amount} dollars", f"{amount} euros", f"{amount}.50", f"{amount - 0.01:.2f}",
        )  # fmt: skip
        words = ("ten", "fifteen", "twenty", "thirty dollars", "forty", "fifty bucks", "a hundred")
        return _pick(self.rng, words) if self.rng.random() < 0.2 else _pick(self.rng, forms)

    def _item(self) -> str:
        rng = self.rng
        place = int(rng.integers(1, 11))
        ordinals = ("first", "second", "third", "fourth", "fifth", "last")
        kind = rng.random()
        if kind < 0.5:
            return _pick(
                rng,
                (
                    f"{place}", f"{place}", f"#{place}", f"number {place}", f"no. {place}",
                    f"the {_pick(rng, ordinals)}", f"the {_pick(rng, ordinals)} one",
                    f"item {place}",
                ),
            )  # fmt: skip
        if kind < 0.6:
            return _pick(rng, ("it", "that", "this", "that one", "this one"))
        if kind < 0.8:
            colour, what = _pick(rng, COLOURS), _pick(rng, (*self._types, "one"))
            return _pick(rng, (f"the {colour} {what}", f"the {what}", f"the {self._value()} one"))
        return self._title()

    def _title(self) -> str:
        rng = self.rng
        line = self._invented().title() if rng.random() < INVENTED else _pick(rng, _LINES)
        number, brand = int(rng.integers(1, 30)), _pick(rng, self._brands)
        return _pick(
            rng,
            (
                f"{line} No. {number}", f"{brand} {line}", f"{line} {_pick(rng, self._types)}",
                f"{line} {number}", f"the {line} {_pick(rng, self._types)}", f"i{number:04d}",
                f"{line} & {_pick(rng, _LINES)}", f"the {brand} {_pick(rng, self._types)}",
            ),
        )  # fmt: skip

    def _words(self) -> str:
        rng = self.rng
        what = self._invented() if rng.random() < INVENTED else _pick(rng, self._types)
        what = f"{what}s" if rng.random() < 0.4 else what
        value, other = _pick(rng, self._values), _pick(rng, self._values)
        return _pick(
            rng,
            (
                what, f"a {what}", f"{value} {what}", f"a {value} {what}",
                f"{value} {other} {what}",
                f"{what} for {other}", f"a {what} made of {_pick(rng, MATERIAL_POOL)}",
                f"{what} with {value}", f"{_pick(rng, self._brands)} {what}",
            ),
        )  # fmt: skip

    def _invented(self) -> str:
        """A word that no shop has."""
        syllables = (
            "".join(_pick(self.rng, each) for each in (_HEADS, _VOWELS, _TAILS))
            for _ in range(int(self.rng.integers(1, 3)))
        )
        return "".join(syllables) + _pick(self.rng, ("", "", "y", "er"))


def _spoken(carrier: str, rng: Rng) -> str:
    """A carrier as it is typed: openings, slang, slips, capitals; slots are left alone."""
    text = _pick(rng, _OPENINGS) + carrier
    if rng.random() < 0.2:
        for plain, slang in _SLANG.items():
            if rng.random() < 0.5:
                text = re.sub(rf"\b{plain}\b", slang, text)
    if rng.random() < SLIPS:
        pieces = re.split(r"(\{\w+\})", text)
        index = 2 * int(rng.integers(0, (len(pieces) + 1) // 2))
        pieces[index] = _slip(pieces[index], rng)
        text = "".join(pieces)
    if rng.random() < 0.3 and text[:1].isalpha():
        text = text[0].upper() + text[1:]
    if text[-1] not in "?!.":
        text += _pick(rng, _CLOSINGS)
    return text


def _slip(text: str, rng: Rng) -> str:
    """One letter left out, doubled, or swapped with the next; short words are left alone."""
    places = [match.start() + 1 for match in re.finditer(r"[a-z]{4,}", text)]
    if not places:
        return text
    at = int(rng.choice(places)) + int(rng.integers(0, 2))
    kind = int(rng.integers(0, 3))
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _pick(rng: Rng, options: Sequence[T]) -> T:
    return options[int(rng.integers(0, len(options)))]
