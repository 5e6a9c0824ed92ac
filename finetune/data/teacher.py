"""Teacher (a): what a careful annotator would answer, from the labels of the training items.

Labels say what an item is; the later steps are taught by the chain's own plain forms, computed on
the annotated items. Nothing here reads the truth of a shop.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from mllm_srec.agent.nodes import explain, fuse_items, profile_user, summarize_preferences
from mllm_srec.agent.nodes.explain import CitedReason
from mllm_srec.agent.nodes.fuse_items import VisualAnswer, compact
from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.score_targets import describe_now, score_prompt
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.state import Event, Settings
from mllm_srec.finetune.data.records import Record, RecordGroup
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.store.records import UNKNOWN, FusedItem, Item

SEEN = ("colour", "pattern", "style")
TOLD = ("material", "brand", "price", "purpose", "suits")


@dataclass(frozen=True, slots=True)
class Annotation:
    """The labels of one item, as the two answers of the fuse step."""

    look: VisualAnswer | None
    fused: FusedItem


def read_labels(path: str) -> dict[str, Annotation]:
    """Read annotations, by item id."""
    return {row["item_id"]: annotate(row) for row in pl.read_parquet(path).iter_rows(named=True)}


def annotate(label: Mapping[str, str | bool | None]) -> Annotation:
    """Turn one row of labels into the answers that the fuse step should give."""
    words = {name: str(value) for name, value in label.items() if value is not None}
    what = words.get("what", UNKNOWN)
    has_picture = "pattern" in words
    seen = {name: words[name] for name in SEEN if name in words} if has_picture else {}
    told = {name: words[name] for name in TOLD if name in words}
    if not has_picture and "colour" in words:
        told = {"colour": words["colour"], **told}
    conflicts = {"colour": words["text_colour"]} if has_picture and "text_colour" in words else {}
    return Annotation(
        look=VisualAnswer(what=what, seen=seen) if has_picture else None,
        fused=FusedItem(what=what, seen=seen, told=told, conflicts=conflicts),
    )


def look_record(item: Item, annotation: Annotation) -> Record | None:
    """Teach what a picture shows."""
    if annotation.look is None or item.picture is None:
        return None
    return Record.of("look", render("look"), annotation.look.text, [item.picture])


def fuse_record(item: Item, annotation: Annotation) -> Record:
    """Teach the merging of a visual answer with a text."""
    answer = compact(annotation.fused.model_dump())
    return Record.of("fuse", fuse_items.fuse_prompt(item, annotation.look), answer)


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
        done = (stop - 1) // self.settings.window_step
        for number in range(1, done + 1):
            if number not in self.states:
                self.states[number] = summarize_preferences.plain_preference(
                    self.states[number - 1], self.whole_window(number), self.fused
                )
        return self.states[done]

    def whole_window(self, number: int) -> Sequence[Event]:
        """The events of a window that others follow; the first has number 1."""
        start = (number - 1) * self.settings.window_step
        return self.events[start : start + self.settings.window_size]

    def window(self, stop: int) -> Sequence[Event]:
        """The events of the last window of the history that ends at `stop`."""
        start = (stop - 1) // self.settings.window_step * self.settings.window_step
        return self.events[start:stop]

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
        return explain.plain_reason(self.taste(stop).preference.text, exhibits, item)

    def explain_record(self, stop: int, item: FusedItem) -> Record:
        """Teach the reason for one item."""
        taste = self.taste(stop)
        exhibits = explain.exhibits_for(item, self.events[:stop], self.fused)
        prompt = explain.explain_prompt(taste.profile.text, taste.preference.text, exhibits, item)
        return Record.of("explain", prompt, compact(self.reason(stop, item).model_dump()))

    def score_group(
        self, stop: int, liked: Sequence[FusedItem], others: Sequence[FusedItem]
    ) -> RecordGroup:
        """Teach the score: one prompt an item, all from the same beginning."""
        prompts = self.score_prompts(stop, [*liked, *others])
        labels = ["Yes"] * len(liked) + ["No"] * len(others)
        return RecordGroup.of("score_target", prompts, labels)

    def score_prompts(self, stop: int, items: Sequence[FusedItem]) -> list[Prompt]:
        """What the model is asked about some items after the history that ends at `stop`."""
        taste = self.taste(stop)
        last = self.events[stop - 1]["timestamp"] if stop else None
        coming = self.events[stop]["timestamp"] if stop < len(self.events) else None
        now = describe_now(coming, last)
        return [score_prompt(taste.profile, taste.preference, now, item) for item in items]


def share(name: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on a name alone: for splits that never move."""
    digest = hashlib.sha256(f"{salt}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
