"""Teacher (a): what a careful annotator would answer, from the labels of the training items.

Labels say what an item is; the later steps are taught by the chain's own plain forms, computed on
the annotated items. Nothing here reads the truth of a shop.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mllm_srec.agent.nodes import explain, fuse_items, profile_user, summarize_preferences
from mllm_srec.agent.nodes.fuse_items import VisualAnswer, compact
from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.reason_check import CitedReason
from mllm_srec.agent.nodes.score_targets import (
    chain_prompts,
    describe_history,
    describe_now,
    raw_prompts,
)
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.state import Event, Settings
from mllm_srec.finetune.data.entries import shown
from mllm_srec.finetune.data.records import Record, RecordGroup
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.store.fields import FieldError, identifier, is_missing
from mllm_srec.store.records import UNKNOWN, FusedItem, Item
from mllm_srec.store.row_files import read_rows
from mllm_srec.store.validation import problems

SEEN = ("colour", "pattern", "style")
TOLD = ("material", "brand", "price", "purpose", "suits")
LABELS = ("what", *SEEN, *TOLD, "text_colour")
"""What a row of labels may say of an item."""

Label = Mapping[str, str | bool | None]


@dataclass(frozen=True, slots=True)
class Annotation:
    """The labels of one item, as the two answers of the fuse step."""

    look: VisualAnswer | None
    fused: FusedItem


def read_labels(path: Path) -> dict[str, Label]:
    """Read what annotators said, by item id; of what nobody labelled a row may say nothing.

    Files and ids are as in `srec ingest`; rows without an id are left out.

    Raises:
        InputError: It cannot be read, or is no file of items.
        FinetuneError: It has no labels, or a row is wrong.
    """
    others: set[str] = set()
    labels: dict[str, Label] = {}
    for line, row in read_rows(path, ("item_id", *LABELS), others):
        if isinstance(row, str):
            raise FinetuneError(f"the labels {str(path)!r}, line {line}: {row}")
        if is_missing(row.get("item_id")):
            continue
        try:
            labels[identifier(row, "item_id")] = row
        except FieldError as error:
            raise FinetuneError(
                f"the labels {str(path)!r}, line {line}, item_id: {error.reason}"
            ) from error
    if not any(name in label for label in labels.values() for name in LABELS):
        raise FinetuneError(
            f"the labels {str(path)!r} say nothing but {sorted(others)}: give at least one of "
            f"{list(LABELS)}"
        )
    return labels


def annotate_labelled(
    items: Mapping[str, Item], labels: Mapping[str, Label]
) -> dict[str, Annotation]:
    """The annotations of the items that somebody labelled, in the order of the labels.

    Raises:
        FinetuneError: No label is of one of these items, or one says what no description can.
    """
    known = {item_id: label for item_id, label in labels.items() if item_id in items}
    if items and not known:
        raise FinetuneError(
            f"none of the {len(labels)} labelled items is among the {len(items)} of the home "
            f"({next(iter(labels), 'no label')!r}; {next(iter(items))!r}): give labels by the ids "
            "that were ingested"
        )
    annotations = {}
    for item_id, label in known.items():
        try:
            annotations[item_id] = annotate(label, pictured=items[item_id].picture is not None)
        except ValidationError as error:
            place, what, value = problems(error)[0]
            raise FinetuneError(
                f"the labels of item {item_id!r} say {shown(value)} in {place!r}: {what}: mend the "
                "file of labels"
            ) from error
    return annotations


def annotate(label: Label, *, pictured: bool) -> Annotation:
    """Turn one row of labels into the answers that the fuse step should give.

    Args:
        label: Words by the names of `LABELS`; any may be missing or blank.
        pictured: Whether the annotator had a picture, so that what, colour, pattern and style are
            what it shows; else they are what the text tells.
    """
    words = {
        name: str(value)
        for name, value in label.items()
        if value is not None and str(value).strip()
    }
    what = words.get("what", UNKNOWN)
    seen = {name: words[name] for name in SEEN if name in words} if pictured else {}
    told = {name: words[name] for name in TOLD if name in words}
    if not pictured and "colour" in words:
        told = {"colour": words["colour"], **told}
    conflicts = {"colour": words["text_colour"]} if pictured and "text_colour" in words else {}
    return Annotation(
        look=VisualAnswer(what=what, seen=seen) if pictured else None,
        fused=FusedItem(what=what, seen=seen, told=told, conflicts=conflicts),
    )


def look_record(item: Item, annotation: Annotation) -> Record | None:
    """Teach what a picture shows."""
    if annotation.look is None or item.picture is None:
        return None
    return Record.of("look", render("look"), annotation.look.text, [item.picture])


def fuse_record(item: Item, annotation: Annotation) -> Record:
    """Teach the merging of a visual answer with a text.

    Values of the text are written as it has them: `cotton` for `Cotton` is more than copying, and
    fails for words never seen. `check_fused` takes the capital of a sentence off again.
    """
    answer = compact(_as_written(annotation.fused, item).model_dump())
    return Record.of("fuse", fuse_items.fuse_prompt(item, annotation.look), answer)


def _as_written(fused: FusedItem, item: Item) -> FusedItem:
    text = fuse_items.item_text(item)

    def written(value: str) -> str:
        if value in text:
            return value
        found = re.search(rf"\b{re.escape(value)}\b", text, re.IGNORECASE)
        return found[0] if found else value

    return fused.model_copy(
        update={
            "what": written(fused.what),
            "told": {name: written(value) for name, value in fused.told.items()},
            "conflicts": {name: written(value) for name, value in fused.conflicts.items()},
        }
    )


@dataclass(frozen=True, slots=True)
class Taste:
    """What the first steps of the chain would say of a history."""

    profile: Profile
    preference: Preference


class Historian:
    """The annotated history of one user, and the plain forms of the chain along it."""

    def __init__(
        self, events: Sequence[Event], fused: Mapping[str, FusedItem], settings: Settings
    ) -> None:
        self.events = events
        self.fused = fused
        self.settings = settings
        self.states: dict[int, Preference] = {0: Preference()}
        """The carried preference after so many whole windows."""

    def before(self, stop: int) -> Preference:
        """The preference carried into the window that ends at `stop`."""
        *whole, _ = summarize_preferences.windows(stop, self.settings)
        for number, (start, end) in enumerate(whole, 1):
            if number not in self.states:
                self.states[number] = summarize_preferences.plain_preference(
                    self.states[number - 1], self.events[start:end], self.fused
                )
        return self.states[len(whole)]

    def whole_window(self, number: int) -> Sequence[Event]:
        """The events of a window that others follow; the first has number 1."""
        start = (number - 1) * self.settings.window_step
        return self.events[start : start + self.settings.window_size]

    def window(self, stop: int) -> Sequence[Event]:
        """The events of the last window of the history that ends at `stop`."""
        start, end = summarize_preferences.windows(stop, self.settings)[-1]
        return self.events[start:end]

    def preference(self, stop: int) -> Preference:
        """The dynamic preference of the history that ends at `stop`."""
        if stop == 0:
            return Preference()
        return summarize_preferences.plain_preference(
            self.before(stop), self.window(stop), self.fused
        )

    def profile(self, stop: int) -> Profile:
        """The profile of the history that ends at `stop`."""
        evidence = profile_user.count_evidence(self.events[:stop], self.fused)
        return profile_user.plain_profile(evidence)

    def taste(self, stop: int) -> Taste:
        """Profile and preference of the history that ends at `stop`."""
        return Taste(profile=self.profile(stop), preference=self.preference(stop))

    def window_record(self, stop: int) -> Record:
        """Teach one window."""
        prompt = summarize_preferences.window_prompt(
            self.before(stop), self.window(stop), self.fused
        )
        answer = self.preference(stop)
        return Record.of("summarize_preferences", prompt, compact(answer.model_dump()))

    def profile_record(self, stop: int) -> Record:
        """Teach the profile."""
        evidence = profile_user.count_evidence(self.events[:stop], self.fused)
        prompt = profile_user.profile_prompt(evidence)
        return Record.of("profile_user", prompt, compact(self.profile(stop).model_dump()))

    def reason(self, stop: int, item: FusedItem) -> CitedReason:
        """The reason for one item after the history that ends at `stop`."""
        exhibits = explain.exhibits_for(item, self.events[:stop], self.fused)
        return explain.plain_reason(self.taste(stop).preference, exhibits, item)

    def explain_record(self, stop: int, item: FusedItem) -> Record:
        """Teach the reason for one item."""
        taste = self.taste(stop)
        exhibits = explain.exhibits_for(item, self.events[:stop], self.fused)
        prompt = explain.explain_prompt(taste.profile, taste.preference, exhibits, item)
        return Record.of("explain", prompt, compact(self.reason(stop, item).model_dump()))

    def score_group(self, stop: int, liked: Sequence[str], others: Sequence[str]) -> RecordGroup:
        """Teach the score: one prompt an item, by its id, all from the same beginning."""
        prompts = self.score_prompts(stop, [self.fused[item_id] for item_id in (*liked, *others)])
        labels = ["Yes"] * len(liked) + ["No"] * len(others)
        return RecordGroup.of("score_target", prompts, labels)

    def score_prompts(self, stop: int, items: Sequence[FusedItem]) -> list[Prompt]:
        """What the model is asked about some items after the history that ends at `stop`."""
        last = self.events[stop - 1]["timestamp"] if stop else None
        coming = self.events[stop]["timestamp"] if stop < len(self.events) else None
        now, without = describe_now(coming, last), self.settings.without
        so_far = describe_history(self.events[:stop])
        if without == "chain":
            return raw_prompts(self.events[:stop], self.fused, so_far, now, items)
        taste = self.taste(stop)
        return chain_prompts(taste.profile, taste.preference, so_far, now, items, without)


def hash_fraction(name: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on a name alone: for splits that never move."""
    digest = hashlib.sha256(f"{salt}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
