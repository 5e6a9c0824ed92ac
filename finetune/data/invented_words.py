"""Words that no shop has: whoever reads one must copy it, for there is nothing to recall."""

import re
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwxyz", "aeiouy"
_WORD = re.compile(r"[a-z]{4,12}")


class InventedWords:
    """Draws words, spelled like those of some texts or like nothing at all."""

    def __init__(self, models: Sequence[str], rng: np.random.Generator) -> None:
        """Take the words to imitate, each once."""
        self._models = models
        self._known = frozenset(models)
        self._rng = rng

    @classmethod
    def like(cls, texts: Iterable[str], rng: np.random.Generator) -> Self:
        """Imitate the words of some texts, of four to twelve letters."""
        found = {word for text in texts for word in _WORD.findall(text.casefold())}
        return cls(sorted(found), rng)

    def draw(self) -> str:
        """A word, at times two: `"tovaki"`, `"canless"`, `"midanton 20"`, `"fleer-brush"`."""
        word = self._one()
        kind = self._rng.random()
        if kind < 0.03:
            return f"{word} {self._one()}"
        if kind < 0.05:
            return f"{word}-{self._one()}"
        if kind < 0.06:
            return f"{word} {self._rng.integers(2, 100)}"
        return word

    def _one(self) -> str:
        while (word := self._made()) in self._known:
            pass
        return word

    def _made(self) -> str:
        if not self._models or self._rng.random() < 0.4:
            return self._syllables()
        # The first part of one word and the last of another: all the pieces are known ones.
        first, last = (self._models[number] for number in self._below(len(self._models), 2))
        head, tail = self._below(3, 2)
        return first[: 2 + head] + last[-2 - tail :]

    def _syllables(self) -> str:
        count = 2 + self._below(2, 1)[0]
        return "".join(
            _CONSONANTS[onset] + _VOWELS[nucleus] + ("" if open_ else _CONSONANTS[coda])
            for onset, nucleus, coda, open_ in zip(
                self._below(len(_CONSONANTS), count),
                self._below(len(_VOWELS), count),
                self._below(len(_CONSONANTS), count),
                self._rng.random(count) < 0.6,
                strict=True,
            )
        )

    def _below(self, limit: int, count: int) -> list[int]:
        return [int(number) for number in self._rng.integers(limit, size=count)]
