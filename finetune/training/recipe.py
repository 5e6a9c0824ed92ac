"""Settings of a training run: one TOML file, every key known."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from mllm_srec.finetune.data.records import TASKS, Task
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.augment import Augmentation
from mllm_srec.finetune.training.picture_words import PICTURE_WORDS
from mllm_srec.finetune.training.tiny import TinyConfig
from mllm_srec.store.validation import problems

FIGURES = ("loss", "right_tokens", "right_answers")
"""What validation says of every task; the first is better when low, the others when high."""

SCORING: Task = "score_target"
SCORING_AUC = f"{SCORING}_auc"
"""What validation says of scoring besides: the chance that a liked item is above another."""

_MEASURED = {f"{task}_{kind}": task for task in TASKS for kind in FIGURES} | {SCORING_AUC: SCORING}

_OF_ONE_RUN = {"then", "scratch", "minutes", "steps"}
"""What a second run does not take over from the first."""

Count = Annotated[int, Ge(1)]
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1)]


class RecipeError(FinetuneError):
    """A recipe is wrong; the message names the key."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters instead of training all weights."""

    rank: Count = 16
    alpha: Count = 32
    dropout: Share = 0.05
    vision: bool = False
    """Adapt the vision part too."""


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run."""

    scratch: TinyConfig | None = None
    """Sizes of a model to make from nothing; else training starts from a model folder."""
    lora: LoraSettings | None = None
    shares: Mapping[str, NotNegative] = field(default_factory=lambda: dict.fromkeys(TASKS, 1.0))
    """Each task's share of the batches, which is about its share of the computing time. Besides the
    tasks of records there is `picture_words`, which teaches the vision part alone."""
    loss_weights: Mapping[str, NotNegative] = field(default_factory=dict)
    """What the mean loss of a task's batches is multiplied by; 1 where nothing is said."""
    listwise_weight: NotNegative = 0.0
    """How much a list loss over the branches of a scoring group adds to their cross entropy; it is
    taught by what was picked, also where the labels are soft."""
    augmentation: Augmentation | None = None
    """Changes to training pictures; None for none."""
    minutes: Positive | None = None
    """Wall time that the schedule is laid over, evaluations and checkpoints included."""
    steps: Count | None = None
    """Optimiser steps; exactly one of `minutes` and `steps` is given."""
    tokens_per_batch: Count = 8192
    """Padded tokens of one forward pass."""
    pictures_per_batch: Count = 48
    """Pictures of one forward pass of `picture_words`."""
    accumulate: Count = 1
    """Batches of one optimiser step; consecutive batches mix the tasks."""
    learning_rate: Positive = 1e-3
    warmup: Share = 0.03
    """Share of the run."""
    muon_rate: Positive | None = None
    """Learning rate of Muon for the matrices of the layers; None for AdamW everywhere."""
    final_rate: Annotated[float, Ge(0), Le(1)] = 0.05
    """Learning rate at the end, as a share of the highest."""
    weight_decay: NotNegative = 0.05
    max_gradient: Positive = 1.0
    """Gradients are scaled down to this norm."""
    bf16: bool = True
    compile: bool = False
    """Fuse the layers' operations with torch.compile; needs a C++ compiler on CPUs."""
    checkpoint_minutes: Positive = 5.0
    best: str | None = None
    """A validation figure, `score_target_auc` or `fuse_right_answers`; the model that was best by
    it is kept beside the last."""
    validation_records: Count = 100
    """So many of each task are looked at with every checkpoint, and at the end."""
    log_steps: Count = 20
    max_length: Count = 4096
    """Tokens; longer records are dropped and counted, never cut."""
    seed: Annotated[int, Ge(0)] = 0
    then: "Recipe | None" = None
    """A second run, from the model of this one; in a file it names only what it changes."""

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if (self.minutes is None) == (self.steps is None):
            raise RecipeError("give exactly one of 'minutes' and 'steps'")
        if self.then is not None and (self.then.scratch is not None or self.then.then is not None):
            raise RecipeError("'then' goes on from the model of this run: no 'scratch', no 'then'")
        if self.scratch is not None and self.lora is not None:
            raise RecipeError("'lora' adapts a trained model; 'scratch' has none: leave one out")
        if self.lora is not None and not self.lora.vision and self.shares.get(PICTURE_WORDS):
            raise RecipeError(
                f"{PICTURE_WORDS!r} teaches the vision part, which 'lora' leaves as it is: leave "
                "its share out, or say 'vision = true'"
            )
        for name in ("shares", "loss_weights"):
            unknown = set(getattr(self, name)) - {*TASKS, PICTURE_WORDS}
            if unknown:
                tasks = [*TASKS, PICTURE_WORDS]
                raise RecipeError(f"{name!r} names {sorted(unknown)}; tasks are {tasks}")
        if not any(share > 0 for share in self.shares.values()):
            raise RecipeError("'shares' gives no task a share above 0: there is nothing to learn")
        if self.best is not None and self.best not in _MEASURED:
            raise RecipeError(f"'best' names {self.best!r}; it must be one of {list(_MEASURED)}")

    @property
    def taught(self) -> Mapping[str, float]:
        """The shares of the tasks that have one, also those of a second run alone."""
        later = {} if self.then is None else self.then.taught
        return {**later, **{task: share for task, share in self.shares.items() if share > 0}}

    def lasting(self, minutes: float) -> Self:
        """The same recipe laid over another time, which two runs share as they did.

        Raises:
            RecipeError: Of two runs one counts steps.
        """
        if self.then is None:
            return replace(self, minutes=minutes, steps=None)
        if self.minutes is None or self.then.minutes is None:
            raise RecipeError(
                "two runs that count steps cannot be laid over minutes: change the file"
            )
        factor = minutes / (self.minutes + self.then.minutes)
        return replace(
            self,
            minutes=self.minutes * factor,
            then=self.then.lasting(self.then.minutes * factor),
        )

    @property
    def measured_task(self) -> str | None:
        """The task whose figure chooses the best model."""
        return None if self.best is None else _MEASURED[self.best]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe.

        Raises:
            RecipeError: It is no TOML, a key is unknown, or a value is of another type, out of its
                range or contradicts another.
        """
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RecipeError(f"the recipe {str(path)!r} cannot be read: {error}") from error
        try:
            return cls.of(values)
        except RecipeError as error:
            raise RecipeError(f"the recipe {str(path)!r}: {error}") from error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make a recipe of plain values, as they stand in the file.

        Raises:
            RecipeError: As `load` does; the message names the key.
        """
        match values:
            case {"then": {**changed}}:
                if not {"minutes", "steps"} & changed.keys():
                    raise RecipeError("'then' is a run of its own: give it 'minutes' or 'steps'")
                kept = {key: value for key, value in values.items() if key not in _OF_ONE_RUN}
                values = {**values, "then": {**kept, **changed}}
        try:
            # As JSON: in Python a strict reader takes dataclasses alone where it should make them.
            return TypeAdapter(cls).validate_json(json.dumps(values, default=str))
        except ValidationError as error:
            raise RecipeError("; ".join(_faults(error))) from error


_TABLES = (Recipe, LoraSettings, Augmentation, TinyConfig)


def _faults(error: ValidationError) -> Iterator[str]:
    for each, (place, what, value) in zip(error.errors(), problems(error), strict=True):
        if each["type"] == "unexpected_keyword_argument":
            # Of the recipe, or of one of its tables.
            known = sorted({each.name for table in _TABLES for each in fields(table)})
            near = get_close_matches(place.rpartition(".")[2], known, n=1)
            yield f"unknown key {place!r}" + (f": do you mean {near[0]!r}?" if near else "")
        else:
            yield f"{place!r} is {value!r}: {what}"
