"""Texts found again by what is spelt almost like them."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np


class Spellings:
    """Texts, to be found by a misspelling of theirs: `stoller`, `grren`."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self._lengths = np.array([len(text) for text in self._texts], np.int64)
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(self._texts):
            for letter in text:
                rows[letter].append(row)
        # By letter: the texts that have it, and how often each has it.
        self._having = {
            letter: np.unique(np.array(found, np.int64), return_counts=True)
            for letter, found in rows.items()
        }

    def near(self, text: str, count: int, *, cutoff: float) -> list[str]:
        """The `count` texts most like another one, with `difflib`'s ratio from `cutoff` up.

        `difflib` looks only at those that have letters enough in common with it, in any order.
        """
        common = np.zeros(len(self._texts), np.int64)
        for letter, times in Counter(text).items():
            if letter in self._having:
                rows, own = self._having[letter]
                common[rows] += np.minimum(own, times)
        # The division as `difflib` makes it: rounded otherwise, it would lose texts at the cutoff.
        likely = 2.0 * common / np.maximum(self._lengths + len(text), 1) >= cutoff
        texts = [self._texts[row] for row in np.flatnonzero(likely)]
        return difflib.get_close_matches(text, texts, count, cutoff)
