"""What users say, with what it means: examples that teach a model to understand a turn.

Everything follows from a seed. What measures is made of phrasings that training never sees, so
that it measures what was understood and not what was remembered.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from typing import Any

from mllm_srec.agent.conversation.intents import Understood, heard
from mllm_srec.agent.conversation.nodes import understand_prompt
from mllm_srec.agent.conversation.reading import Reading
from mllm_srec.finetune.data.phrasings import FIELDS, Group, Part, phrasings
from mllm_srec.finetune.data.slot_fillers import Filler
from mllm_srec.finetune.data.spoken import spoken
from mllm_srec.llm.engine import Prompt

ANSWERS_SHARE = 0.08
"""Share of the examples that answer a question of ours."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One message after what went before, and what it means."""

    before: str
    said: str
    """In one line, as it was typed."""
    understood: Understood
    phrasing: str
    """The frame behind it, with its choices made."""

    @property
    def prompt(self) -> Prompt:
        """The prompt, word for word as serving asks it."""
        return understand_prompt(self.before, self.said)

    @property
    def answer(self) -> str:
        """The answer to learn: what it copies is spelt as in the prompt."""
        return self.understood.with_spans(lambda span: Reading.of(span).text).compact


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


def _utterance(group: Group, phrasing: str, before: str, fill: Filler) -> Utterance:
    drawn = phrasings().drawn
    whole = re.sub(
        r"\{(\w+)\}",
        lambda m: fill.rng.choice(drawn[m[1]]) if m[1] in drawn else m[0],
        phrasing,
    )
    carrier, shouted = spoken(whole, fill.rng)
    slots: dict[str, list[str]] = {}

    def put(match: re.Match[str]) -> str:
        slot, field = match[1], FIELDS.get(match[1], match[1])
        words = fill("owned" if (group.intent, slot) == ("history", "item") else slot)
        words = words.upper() if shouted else words
        around = fill.around(field, words, carrier[match.end() :])
        first, _, rest = words.partition(" ")
        if field == "words" and first.casefold() in ("a", "an"):
            # The article stands before what is searched for.
            words, around = rest, f"{first} {around}"
        slots.setdefault(field, []).append(words)
        return around.upper().format(words) if shouted else around.format(words)

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
