"""`srec finetune data`: from the training part of a home to SFT records for every step."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mllm_srec.agent.nodes.load_user import events
from mllm_srec.agent.state import Event, Settings
from mllm_srec.finetune.records import AnyRecord, Record, RecordGroup, file_hash, write_records
from mllm_srec.finetune.splits import split_by_user
from mllm_srec.finetune.teacher import (
    Annotation,
    Historian,
    fuse_record,
    look_record,
    read_labels,
    share,
)
from mllm_srec.llm.prompting import prompt_hash
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Interaction


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """How many records of each kind, and where the negatives of the score come from."""

    seed: int = 1
    fuse_per_item: int = 8
    windows_per_user: int = 6
    profiles_per_user: int = 4
    explanations_per_user: int = 4
    groups_per_user: int = 12
    """Score groups (one beginning with several candidates) of one user."""
    liked_per_group: int = 4
    """Next liked items that a group holds at most; as many others stand against them."""
    hard_share: float = 0.15
    """Share of the others that resemble what the user liked; the rest is drawn by popularity."""
    validation_share: float = 0.05
    """Share of the items and of the users that only measure."""


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was written."""

    train: int
    validation: int
    train_sha256: str
    validation_sha256: str
    tasks: dict[str, int]


def write_data(home: Home, labels: Path, out: Path, settings: DataSettings) -> DataReport:
    """Write `train.jsonl`, `validation.jsonl` and `data.json` into a folder.

    Only interactions of the training part are read, and of them only those with annotated items.
    """
    out.mkdir(parents=True, exist_ok=True)
    annotations = read_labels(str(labels))
    splits: dict[str, list[AnyRecord]] = {"train": [], "validation": []}
    for name, record in _records(home, annotations, settings):
        measured = share(name, "validation") < settings.validation_share
        splits["validation" if measured else "train"].append(record)
    rng = np.random.default_rng(settings.seed)
    tasks: dict[str, int] = {}
    for name, records in splits.items():
        shuffled = [records[index] for index in rng.permutation(len(records))]
        write_records(out / f"{name}.jsonl", shuffled)
        for record in shuffled if name == "train" else ():
            tasks[record.task] = tasks.get(record.task, 0) + 1
    report = DataReport(
        train=len(splits["train"]),
        validation=len(splits["validation"]),
        train_sha256=file_hash(out / "train.jsonl"),
        validation_sha256=file_hash(out / "validation.jsonl"),
        tasks=dict(sorted(tasks.items())),
    )
    about: dict[str, Any] = {
        **asdict(report),
        "settings": asdict(settings),
        "prompts": {name: prompt_hash(name) for name in PROMPTS},
    }
    (out / "data.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return report


PROMPTS = ("look", "fuse", "summarize_preferences", "profile_user", "score_target", "explain")


def _records(
    home: Home, annotations: dict[str, Annotation], settings: DataSettings
) -> Iterator[tuple[str, AnyRecord]]:
    """Yield records with the name (an item or a user) that decides their side of the split."""
    rng = np.random.default_rng(settings.seed)
    yield from _item_records(home, annotations, settings, rng)
    fused = {item_id: entry.fused for item_id, entry in annotations.items()}
    histories = annotated_histories(home, set(fused), Settings())
    sampler = Others(histories, fused, settings, rng)
    for user, history in histories.items():
        historian = Historian(history, fused, Settings())
        for record in _user_records(historian, sampler, settings, rng):
            yield user, record


def _item_records(
    home: Home,
    annotations: dict[str, Annotation],
    settings: DataSettings,
    rng: np.random.Generator,
) -> Iterator[tuple[str, Record]]:
    items = home.catalogue.items(list(annotations))
    looks = [entry.look for entry in annotations.values() if entry.look is not None]
    for item_id, item in items.items():
        annotation = annotations[item_id]
        if record := look_record(item, annotation):
            yield item_id, record
        # Contradictions are rare in a shop and hard to learn: they come four times as often.
        times = settings.fuse_per_item * (4 if annotation.fused.conflicts else 1)
        for _ in range(times):
            elsewhere = looks[rng.integers(len(looks))]
            yield item_id, fuse_record(item, annotation, elsewhere, rng)


def _user_records(
    historian: Historian, sampler: "Others", settings: DataSettings, rng: np.random.Generator
) -> Iterator[AnyRecord]:
    length = len(historian.events)
    if length < 2:
        return

    def cuts(count: int, low: int, high: int) -> Sequence[int]:
        if high < low:
            return ()
        options = np.arange(low, high + 1)
        return [int(cut) for cut in rng.permutation(options)[:count]]

    for stop in cuts(settings.windows_per_user, 1, length):
        yield historian.window_record(stop)
    for stop in cuts(settings.profiles_per_user, 1, length):
        yield historian.profile_record(stop)
    for stop in cuts(settings.explanations_per_user, 1, length - 1):
        if item := sampler.explained(historian, stop):
            yield historian.explain_record(stop, item)
    for stop in cuts(settings.groups_per_user, 0, length - 1):
        if group := sampler.group(historian, stop):
            yield group


def annotated_histories(
    home: Home, item_ids: set[str], settings: Settings
) -> dict[str, list[Event]]:
    """Training histories in time order, without items that nobody annotated."""
    split = split_by_user(
        home.catalogue.interactions_frame(),
        home.catalogue.item_ids(),
        min_rating=settings.liked_rating,
    )
    histories: dict[str, list[Interaction]] = {}
    for row in split.train.sort("user_id", "position").iter_rows(named=True):
        if row["item_id"] in item_ids:
            histories.setdefault(row["user_id"], []).append(Interaction.model_validate(row))
    return {user: events(rows, settings) for user, rows in histories.items()}


class Others:
    """Draws the items that stand against the liked ones: unseen, disliked, and look-alikes."""

    def __init__(
        self,
        histories: dict[str, list[Event]],
        fused: dict[str, FusedItem],
        settings: DataSettings,
        rng: np.random.Generator,
    ) -> None:
        self._fused = fused
        self._ids = list(fused)
        self._settings = settings
        self._rng = rng
        counts = dict.fromkeys(self._ids, 1.0)
        for history in histories.values():
            for event in history:
                if event["verdict"] == "liked":
                    counts[event["item_id"]] += 1
        weights = np.array(list(counts.values()))
        self._popularity = np.cumsum(weights / weights.sum())
        self._with_value: dict[str, list[str]] = {}
        for item_id, item in fused.items():
            for value in item.facets():
                self._with_value.setdefault(value, []).append(item_id)

    def group(self, historian: Historian, stop: int) -> RecordGroup | None:
        """A score group: the next liked items, and as many others."""
        before, coming = _liked(historian.events[:stop]), historian.events[stop:]
        liked = _liked(coming)[: self._settings.liked_per_group]
        if not liked:
            return None
        disliked = [event["item_id"] for event in coming[:8] if event["verdict"] == "disliked"]
        others = disliked[:1]
        taken = {event["item_id"] for event in historian.events}
        while len(others) < len(liked):
            hard = before and self._rng.random() < self._settings.hard_share
            item_id = self._alike(before) if hard else self._popular()
            if item_id not in taken and item_id not in others:
                others.append(item_id)
        return historian.score_group(
            stop,
            [self._fused[item_id] for item_id in liked],
            [self._fused[item_id] for item_id in others],
        )

    def explained(self, historian: Historian, stop: int) -> FusedItem | None:
        """An item whose reason is worth learning: the next liked one, or one that resembles it."""
        liked = _liked(historian.events[stop:])[:3]
        if not liked:
            return None
        item_id = self._alike(liked) if self._rng.random() < 0.5 else liked[0]
        return self._fused[item_id]

    def _popular(self) -> str:
        return self._ids[int(np.searchsorted(self._popularity, self._rng.random()))]

    def _alike(self, liked: Sequence[str]) -> str:
        """An item that shares a value with one of some liked items."""
        values = list(self._fused[liked[int(self._rng.integers(len(liked)))]].facets())
        shared = self._with_value[values[self._rng.integers(len(values))]]
        return shared[self._rng.integers(len(shared))]


def _liked(events: Sequence[Event]) -> list[str]:
    return [event["item_id"] for event in events if event["verdict"] == "liked"]
