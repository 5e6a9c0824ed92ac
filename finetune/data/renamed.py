"""The same items in other words, so that the chain learns to copy words and not to know them.

A taste is a pattern of equal values, whatever they are called. For a share of the users every brand
and every material of their history bears another name, one and the same wherever it stands.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from mllm_srec.finetune.data.invented_words import InventedWords
from mllm_srec.store.records import UNKNOWN, FusedItem, folded

RENAMED = {
    "material": 0.8, "brand": 0.8, "purpose": 0.8, "suits": 0.7,
    "what": 0.25, "colour": 0.1, "pattern": 0.1, "style": 0.1,
}  # fmt: skip
"""For each attribute how likely its values get other names; prices are the same three everywhere.
What only a picture shows comes in the model's own words, mostly."""


class Renamed(Mapping[str, FusedItem]):
    """Some items in the words of one user."""

    def __init__(
        self, fused: Mapping[str, FusedItem], words: InventedWords, rng: np.random.Generator
    ) -> None:
        self._fused = fused
        self._words = words
        self._renamed = {name for name, share in RENAMED.items() if rng.random() < share}
        self._new: dict[str, str] = {UNKNOWN: UNKNOWN}

    def __getitem__(self, item_id: str) -> FusedItem:
        """The item in other words.

        Raises:
            KeyError: Nobody described it.
        """
        item = self._fused[item_id]
        return FusedItem(
            what=self._word("what", item.what),
            seen=self._values(item.seen),
            told=self._values(item.told),
            conflicts=self._values(item.conflicts),
        )

    def __iter__(self) -> Iterator[str]:
        """Yield the items' ids."""
        return iter(self._fused)

    def __len__(self) -> int:
        return len(self._fused)

    def _values(self, values: Mapping[str, str]) -> dict[str, str]:
        return {name: self._word(name, value) for name, value in values.items()}

    def _word(self, name: str, value: str) -> str:
        if name not in self._renamed:
            return value
        if value not in self._new:
            # Values that differ in capitals alone are one.
            taken = set(map(folded, self._new.values()))
            new = self._words.draw()
            while folded(new) in taken:
                new = self._words.draw()
            self._new[value] = new.title() if value[:1].isupper() else new
        return self._new[value]
