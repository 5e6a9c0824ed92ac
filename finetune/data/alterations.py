"""Items that no shop has, with the descriptions they should get.

A description is a function of what the picture shows and what the text tells, whatever they say.
Altered items teach just that, to copy and to compare: not which brand goes with which product.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np

from mllm_srec.agent.nodes.fuse_items import VisualAnswer, item_text
from mllm_srec.finetune.data.invented_words import InventedWords
from mllm_srec.finetune.data.teacher import Annotation
from mllm_srec.store.records import UNKNOWN, FusedItem, Item

T = TypeVar("T")

OTHER_LOOK = 0.45
"""Share of the items that get the look of another."""
NO_LOOK = 0.14
OTHER_WORDS = 0.6
"""Share of the items in which words of the text are changed."""
INVENTED = 0.5
"""Share of the changed words that no shop has; the others are words of other items."""
TERSE = 0.12
"""Share of the items that lose title or description."""
CONTRADICTING = 0.12
"""Share of the items that get a sentence about the colour from the text of another."""

_INVENTIBLE = ("material", "brand", "purpose", "suits")
_CHANGED = (*_INVENTIBLE, "colour", "what")
"""An invented colour could be anything: nothing in a title says that it is one."""
_SENTENCE = re.compile(r"[^.]+\.")


class Alterations:
    """Draws altered items, of the words, the looks and the sentences of a whole catalogue."""

    def __init__(
        self,
        items: Mapping[str, Item],
        annotations: Mapping[str, Annotation],
        invented: InventedWords,
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        self._invented = invented
        self._looks = [entry.look for entry in annotations.values() if entry.look is not None]
        self._words = _words(annotations.values())
        self._sentences = [
            (match[0].strip(), colour)
            for item_id, item in items.items()
            if item_id in annotations and (colour := _said_colour(annotations[item_id]))
            for match in _SENTENCE.finditer(item.description)
            if colour in match[0].casefold()
        ]

    def __call__(self, item: Item, annotation: Annotation) -> tuple[Item, Annotation]:
        """Alter an item and the description that it should get; at times nothing changes."""
        told = _text_words(annotation)
        if self._chance(OTHER_WORDS):
            item, told = self._rename(item, told)
        if self._sentences and "colour" not in told and self._chance(CONTRADICTING):
            item, told = self._contradict(item, told)
        if self._chance(TERSE):
            field = "title" if self._chance(0.5) else "description"
            item = item.model_copy(update={field: ""})
        text = item_text(item).casefold()
        left = {name: value for name, value in told.items() if value.casefold() in text}
        return item, _described(self._look(annotation.look), left)

    def _look(self, own: VisualAnswer | None) -> VisualAnswer | None:
        if own is None:
            return None
        kind = self._rng.random()
        if kind < NO_LOOK:
            return None
        if kind < NO_LOOK + OTHER_LOOK:
            return self._pick(self._looks)
        return own

    def _rename(self, item: Item, told: Mapping[str, str]) -> tuple[Item, dict[str, str]]:
        renamed = dict(told)
        for name in _CHANGED:
            old = told.get(name)
            if old is None or self._chance(0.3):
                continue
            invented = name in _INVENTIBLE and self._chance(INVENTED)
            new = self._invented.draw() if invented else self._pick(self._words[name])
            new = new.title() if old[:1].isupper() else new
            swapped = _swap(item, old, new)
            text = item_text(swapped).casefold()
            # A word that stands in a column too, or within another one, is left as it is.
            if new.casefold() in text and old.casefold() not in text:
                item, renamed[name] = swapped, new
        return item, renamed

    def _contradict(self, item: Item, told: Mapping[str, str]) -> tuple[Item, dict[str, str]]:
        sentence, said = self._pick(self._sentences)
        colour = self._pick(self._words["colour"])
        sentence = sentence.replace(said, colour).replace(said.capitalize(), colour.capitalize())
        both = [item.description, sentence]
        self._rng.shuffle(both)
        text = " ".join(both).strip()
        return item.model_copy(update={"description": text}), {"colour": colour, **told}

    def _chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _pick(self, options: Sequence[T]) -> T:
        return options[int(self._rng.integers(len(options)))]


def _text_words(annotation: Annotation) -> dict[str, str]:
    """What the text tells, by name, whatever the picture shows."""
    fused = annotation.fused
    told = dict(fused.told)
    if colour := fused.conflicts.get("colour"):
        told = {"colour": colour, **told}
    if annotation.look is None and fused.what != UNKNOWN:
        told["what"] = fused.what
    return told


def _said_colour(annotation: Annotation) -> str | None:
    return _text_words(annotation).get("colour")


def _words(annotations: Collection[Annotation]) -> dict[str, list[str]]:
    """All words of each attribute; each once, so that rare ones come as often."""
    found: dict[str, dict[str, None]] = {name: {} for name in _CHANGED}
    for annotation in annotations:
        fused = annotation.fused
        for name, value in {"what": fused.what, **fused.seen, **fused.told}.items():
            if name in found and value != UNKNOWN:
                found[name][value] = None
    # Labels may tell what the texts call the colours, and of no picture what it is.
    said = {said: None for one in annotations if (said := one.fused.conflicts.get("colour"))}
    found["colour"] = found["colour"] or said
    return {name: list(values) for name, values in found.items()}


def _described(look: VisualAnswer | None, told: Mapping[str, str]) -> Annotation:
    """The description of a look and of what a text tells."""
    rest = {name: value for name, value in told.items() if name != "what"}
    if look is None:
        return Annotation(None, FusedItem(what=told.get("what", UNKNOWN), told=rest))
    said = rest.pop("colour", None)
    shown = look.seen.get("colour")
    conflicts = {"colour": said} if said and shown and said != shown else {}
    fused = FusedItem(what=look.what, seen=look.seen, told=rest, conflicts=conflicts)
    return Annotation(look, fused)


def _swap(item: Item, old: str, new: str) -> Item:
    fields = {"title", "brand", "description", "keywords"}
    return item.model_copy(
        update={
            name: text.replace(old, new).replace(old.capitalize(), new.capitalize())
            for name, text in item.model_dump(include=fields).items()
        }
    )
