"""`srec finetune check`: all that training would stumble over, found before a model loads."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.agent.results import Progress
from mllm_srec.finetune.data.entries import Entry, Fault, read_entries, shown
from mllm_srec.finetune.data.records import AnyRecord, RecordError, RecordGroup
from mllm_srec.finetune.data.wording import other_prompts
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.encode import Encoded, Encoder
from mllm_srec.finetune.training.picture_words import PICTURE_WORDS, picture_words
from mllm_srec.finetune.training.recipe import SCORING, SCORING_AUC, Recipe
from mllm_srec.finetune.training.record_pictures import Pictures, PictureSource, one_tile
from mllm_srec.finetune.training.tasks import task_faults, untaught
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.store.errors import StoreError

_AGAIN = "run `srec finetune data` again"


@dataclass(frozen=True, slots=True)
class OverLong:
    """A record that is longer than a recipe allows, and so left out of training."""

    file: str
    line: int
    task: str
    tokens: int
    origin: str | None
    """The item or the user that it was made from, where the data say so."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The data of a run: what is wrong with them, and their tokens."""

    encoded: Mapping[str, list[Encoded]]
    """`train` and `validation`, without what is wrong or too long."""
    faults: Sequence[Fault]
    over_long: Sequence[OverLong]


def refuse(faults: Sequence[Fault]) -> None:
    """Refuse faulty data.

    Raises:
        RecordError: Something is wrong.
    """
    if faults:
        more = f"; {len(faults) - 1} more" if len(faults) > 1 else ""
        raise RecordError(
            f"{faults[0]}{more} (`srec finetune check` with the same recipe lists all)"
        )


def check_data(
    data: Path,
    pictures: PictureSource,
    model: Path,
    recipe: Recipe,
    progress: Progress = lambda stage, done, total: None,
) -> Checked:
    """Check a data folder for a model and a recipe.

    Args:
        data: The folder of `train.jsonl` and `validation.jsonl`.
        pictures: Gives the picture of a name.
        model: Its tokenizer, chat template and picture budget count; its weights are not read.
        recipe: Its tasks and the longest record that it allows count.
        progress: Told how many records are checked.
    """
    entries, faults = read_entries(data)
    return check_entries(entries, faults, pictures, model, recipe, progress)


def check_tasks(entries: Mapping[str, Sequence[Entry]], recipe: Recipe) -> list[Fault]:
    """What a recipe names and no record teaches or measures; found without a tokenizer."""
    tasks = {name: {each.record.task for each in several} for name, several in entries.items()}
    return list(task_faults(recipe, tasks))


def check_entries(
    entries: Mapping[str, Sequence[Entry]],
    unread: Sequence[Fault],
    pictures: PictureSource,
    model: Path,
    recipe: Recipe,
    progress: Progress = lambda stage, done, total: None,
) -> Checked:
    """Check records that are read; `unread` are the faults of lines that are no records."""
    every = [entry for several in entries.values() for entry in several]
    faults = [
        *unread,
        *_prompt_faults(every),
        *_answer_faults(every, ChatTemplate(model)),
        *_picture_faults(every, pictures),
        *_leaks(entries["train"], entries["validation"]),
    ]
    wrong = {(fault.file, fault.line) for fault in faults}
    prepared = Pictures(pictures, model)
    encoder = Encoder(model, prepared)
    encoded: dict[str, list[Encoded]] = {name: [] for name in entries}
    tasks: dict[str, set[str]] = {name: set() for name in entries}
    over_long: list[OverLong] = []
    done = itertools.count(1)
    for name, several in entries.items():
        for entry in several:
            made = None if (entry.file, entry.line) in wrong else _encode(entry, encoder)
            if isinstance(made, Encoded) and made.length > recipe.max_length:
                over_long.append(_over_long(entry, made.length))
            else:
                # What is faulty is there all the same, and has its own fault.
                tasks[name].add(entry.record.task)
                if isinstance(made, Fault):
                    faults.append(made)
                elif made is not None:
                    encoded[name].append(made)
            progress("check", next(done), len(every))
    faults += task_faults(recipe, tasks)
    faults += _picture_word_faults(recipe, encoded["train"], prepared)
    unused = wrong | {(each.file, each.line) for each in over_long}
    kept = [each for each in entries["validation"] if (each.file, each.line) not in unused]
    faults += _pair_faults(recipe, kept)
    return Checked(encoded, faults, over_long)


def _picture_word_faults(
    recipe: Recipe, encoded: Sequence[Encoded], pictures: Pictures
) -> Iterator[Fault]:
    """Looks that the task of picture words cannot be made of, where the recipe has it."""
    looks = [record for record in encoded if record.task == "look"]
    if not looks or PICTURE_WORDS not in recipe.taught:
        return
    tasks = {record.task for record in encoded}
    if not picture_words(looks, lambda _: ()):
        yield untaught(PICTURE_WORDS, recipe, tasks, "no word tells a picture from the rest")
    if not one_tile(pictures.features(looks[0].images[0])):
        yield untaught(PICTURE_WORDS, recipe, tasks, "this model cuts pictures in tiles")


def _pair_faults(recipe: Recipe, validation: Sequence[Entry]) -> Iterator[Fault]:
    """A best figure that compares liked items with others, where no group has both."""
    scoring = [each.record for each in validation if each.record.task == SCORING]
    for run in filter(None, (recipe, recipe.then)):
        seen = scoring[: run.validation_records]
        if run.best != SCORING_AUC or not seen or any(map(_has_both, seen)):
            continue
        problem = f"none of the {len(seen)} scoring records has a liked item and another in a group"
        way_out = "leave 'best' out of the recipe, or name another figure"
        yield Fault("validation.jsonl", None, "best", shown(run.best), problem, way_out)


def _has_both(record: AnyRecord) -> bool:
    if not isinstance(record, RecordGroup):
        return False
    return {YES, NO} <= {branch.label for branch in record.branches}


def _encode(entry: Entry, encoder: Encoder) -> Encoded | Fault:
    try:
        return encoder.encode(entry.record)
    except ModelError as error:
        return _fault(entry, "messages", entry.record.task, str(error), _AGAIN)


def _over_long(entry: Entry, tokens: int) -> OverLong:
    return OverLong(entry.file, entry.line, entry.record.task, tokens, entry.origin)


def _fault(entry: Entry, place: str, value: object, problem: str, way_out: str) -> Fault:
    return Fault(entry.file, entry.line, place, shown(value), problem, way_out)


def _prompt_faults(entries: Sequence[Entry]) -> Iterator[Fault]:
    """One fault for each prompt file that the records were not made from."""
    others: dict[str, list[Entry]] = {}
    for entry in entries:
        for name in other_prompts(entry.record):
            others.setdefault(name, []).append(entry)
    for name, several in others.items():
        problem = f"{len(several)} records were made from another version of prompts/{name}.md"
        yield _fault(several[0], "messages", name, problem, _AGAIN)


def _answer_faults(entries: Sequence[Entry], chat: ChatTemplate) -> Iterator[Fault]:
    """Scoring answers must be the labels that serving reads, each one token of this model."""
    problems = {label: _label_problem(label, chat) for label in (YES, NO)}
    for entry in entries:
        if entry.record.task != SCORING:
            continue
        if isinstance(entry.record, RecordGroup):
            branches = dict(enumerate(entry.record.branches))
            labels = {
                f"branches.{number}.label": branch.label for number, branch in branches.items()
            }
            doubted = next((number for number in branches if branches[number].doubt), None)
            if doubted is not None and entry.file == "validation.jsonl":
                place, value = f"branches.{doubted}.doubt", str(branches[doubted].doubt)
                problem = "validation measures with what was picked"
                yield _fault(entry, place, value, problem, "leave 'doubt' to the training part")
        else:
            labels = {"messages.2": entry.record.completion[0].text}
        for place, label in labels.items():
            if label not in problems:
                problem = f"serving reads {YES!r} and {NO!r} alone"
                yield _fault(entry, place, label, problem, "write one of the two")
            elif problem := problems[label]:
                yield _fault(entry, place, label, problem, "train another model")


def _label_problem(label: str, chat: ChatTemplate) -> str:
    try:
        label_token_ids(chat, [label])
    except ModelError as error:
        return str(error)
    return ""


def _picture_faults(entries: Sequence[Entry], pictures: PictureSource) -> Iterator[Fault]:
    """Pictures that are missing or cannot be decoded."""

    @cache
    def problem(name: str) -> str:
        try:
            pictures(name)
        except (FinetuneError, StoreError, ValueError) as error:
            return str(error)
        return ""

    for entry in entries:
        for number, name in enumerate(entry.record.images):
            if found := problem(name):
                way_out = "give the picture back, or leave the record out"
                yield _fault(entry, f"images.{number}", name, found, way_out)


def _leaks(train: Sequence[Entry], validation: Sequence[Entry]) -> Iterator[Fault]:
    """Validation that measures what was learned by heart: a user, an item or a picture of both."""
    origins = {entry.origin: entry.line for entry in reversed(train)}
    pictures = {name: entry.line for entry in reversed(train) for name in entry.record.images}
    way_out = "keep each item and each user on one side"
    for entry in validation:
        if entry.origin is not None and entry.origin in origins:
            problem = f"it is trained on, too (train.jsonl, line {origins[entry.origin]})"
            yield _fault(entry, "origin", entry.origin, problem, way_out)
            continue
        for number, name in enumerate(entry.record.images):
            if name in pictures:
                problem = f"it is trained on, too (train.jsonl, line {pictures[name]})"
                yield _fault(entry, f"images.{number}", name, problem, way_out)
