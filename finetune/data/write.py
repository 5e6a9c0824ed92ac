"""`srec finetune data`: from the training part of a home to SFT records for every step."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.data.entries import ABOUT, FILES, write_origins
from mllm_srec.finetune.data.learned import LEARNED, Learned
from mllm_srec.finetune.data.message_records import message_records
from mllm_srec.finetune.data.metadata_teacher import annotate_catalogue
from mllm_srec.finetune.data.model_teacher import ModelTeacher
from mllm_srec.finetune.data.records import (
    TASKS,
    AnyRecord,
    file_hash,
    prompt_hashes,
    write_records,
)
from mllm_srec.finetune.data.rule_records import rule_records
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.soft_labels import Picks, Softening, soften
from mllm_srec.finetune.data.teacher import annotate_labelled, hash_fraction, read_labels
from mllm_srec.finetune.data.telling import Teller
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.output_folder import all_at_once, make_output_folder
from mllm_srec.store.home import Home


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was written."""

    train: int
    validation: int
    train_sha256: str
    validation_sha256: str
    tasks: dict[str, int]
    soft_labels: Softening | None
    """How good the labels of the scores are; None where there are no scores to measure with."""


def write_data(
    home: Home,
    labels: Path | None,
    out: Path,
    settings: DataSettings,
    *,
    teacher: ModelTeacher | None = None,
    teller: Teller | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> DataReport:
    """Write `train.jsonl`, `validation.jsonl`, their origins and `data.json` into a folder.

    Only interactions of the training part are read, and of them only those with described items.

    Args:
        home: The items and interactions.
        labels: What annotators said of the training items. Without it descriptions are made by
            rule from the catalogue's text fields, or by `teacher`.
        out: Made when missing.
        settings: How many records.
        teacher: A bigger model that answers in the place of rules.
        teller: Tells the histories that some score groups stand on, as it will when it serves; not
            beside a teacher, which tells all of them.
        progress: Told how many records are made, of a number that is not known before; of a
            teacher, how many items and chains it answered.

    Raises:
        FinetuneError: There is nothing to learn from, or the folder cannot be made.
        StoreError: The disk is full; what the folder held before is whole.
    """
    make_output_folder(out)
    if teacher is not None:
        made = teacher.records(home, settings, progress)
    else:
        tell = None if teller is None else functools.partial(teller, progress=progress)
        annotated = (
            annotate_catalogue(home)
            if labels is None
            else annotate_labelled(home.catalogue.items(), read_labels(labels))
        )
        made = _counted(rule_records(home, annotated, settings, tell), "records", progress)
    picks, sides, share = Picks(), _sides(home), settings.validation_share
    of_shop = _split(made, sides, share, picks)
    if not of_shop["train"]:
        raise FinetuneError(f"nothing to learn from in {str(home.path)!r}: run `srec ingest`")
    # What users say is the same for every shop.
    said = _split(_counted(message_records(settings), "messages", progress), sides, share, picks)
    splits = {name: said[name] + of_shop[name] for name in FILES}
    train, softening = soften(splits["train"], splits["validation"], picks, seed=settings.seed)
    return write_split(
        {**splits, "train": train},
        out,
        seed=settings.seed,
        settings=settings.plain(),
        softening=softening,
        learned=Learned.of(home, settings.split, Settings().liked_rating),
    )


def _counted(
    made: Iterable[tuple[str, AnyRecord]], stage: str, progress: Progress
) -> Iterator[tuple[str, AnyRecord]]:
    for number, one in enumerate(made, 1):
        progress(stage, number, None)
        yield one


def _sides(home: Home) -> Mapping[str, str]:
    """For each item the first one with the same picture: both go to one side of the split."""
    first: dict[str, str] = {}
    sides = {}
    for item_id, item in home.catalogue.items().items():
        sides[item_id] = first.setdefault(item.picture, item_id) if item.picture else item_id
    return sides


def _split(
    made: Iterable[tuple[str, AnyRecord]],
    sides: Mapping[str, str],
    share_measured: float,
    picks: Picks,
) -> dict[str, list[tuple[str, AnyRecord]]]:
    """All records of an item, and all of a user, are trained on or measured with.

    Those that only tell picks go into `picks`.
    """

    def place(origin: str) -> float:
        kind, _, name = origin.partition(":")
        return hash_fraction(sides[name] if kind == "item" else name, "validation")

    splits: dict[str, list[tuple[str, AnyRecord]]] = {name: [] for name in FILES}
    for origin, record in made:
        if origin.startswith("picks:"):
            picks.add(record)
        else:
            measured = place(origin) < share_measured
            splits["validation" if measured else "train"].append((origin, record))
    return _measuring_every_task(splits, place) if share_measured else splits


def _measuring_every_task(
    splits: dict[str, list[tuple[str, AnyRecord]]], place: Callable[[str], float]
) -> dict[str, list[tuple[str, AnyRecord]]]:
    """Of a small shop the share may be nobody: then the next item or user measures a task."""
    for task in TASKS:
        if any(record.task == task for _, record in splits["validation"]):
            continue
        taught = {place(origin) for origin, record in splits["train"] if record.task == task}
        if len(taught) > 1:
            chosen = [one for one in splits["train"] if place(one[0]) == min(taught)]
            splits["train"] = [one for one in splits["train"] if place(one[0]) != min(taught)]
            splits["validation"] += chosen
    return splits


def write_split(
    splits: Mapping[str, Sequence[tuple[str, AnyRecord]]],
    out: Path,
    *,
    seed: int,
    settings: Mapping[str, Any],
    softening: Softening | None = None,
    learned: Learned | None = None,
    more: Mapping[str, str] | None = None,
) -> DataReport:
    """Write both files of a data folder, shuffled, with their origins and `data.json`.

    Args:
        splits: The records by the names of the files, each with its origin.
        out: Made when missing.
        seed: Of the order of the records.
        settings: What the records were made by.
        softening: How good the labels of the scores are.
        learned: The log that the records are of, and how it was split.
        more: The texts of further files by their names, written along with the others.

    Raises:
        FinetuneError: The folder cannot be made.
        StoreError: The disk is full; what the folder held before is whole.
    """
    make_output_folder(out)
    rng = np.random.default_rng(seed)
    tasks: dict[str, int] = {}
    origins: dict[str, list[str]] = {}
    with all_at_once(out, last=ABOUT) as partial:
        for name, pairs in splits.items():
            shuffled = [pairs[index] for index in rng.permutation(len(pairs))]
            write_records(partial / f"{name}.jsonl", (record for _, record in shuffled))
            origins[name] = [origin for origin, _ in shuffled]
            for _, record in shuffled if name == "train" else ():
                tasks[record.task] = tasks.get(record.task, 0) + 1
        write_origins(partial, origins)
        for name, text in (more or {}).items():
            (partial / name).write_text(text, "utf-8")
        report = DataReport(
            train=len(splits["train"]),
            validation=len(splits["validation"]),
            train_sha256=file_hash(partial / "train.jsonl"),
            validation_sha256=file_hash(partial / "validation.jsonl"),
            tasks=dict(sorted(tasks.items())),
            soft_labels=softening,
        )
        about: dict[str, Any] = {
            **asdict(report),
            "settings": dict(settings),
            "prompts": prompt_hashes(),
            LEARNED: learned and learned.model_dump(),
        }
        (partial / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return report
