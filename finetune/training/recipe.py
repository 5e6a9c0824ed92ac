"""Settings of a training run: one TOML file, every key known."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from mllm_srec.finetune.data.records import TASKS
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.augment import Augmentation
from mllm_srec.finetune.training.picture_words import PICTURE_WORDS
from mllm_srec.finetune.training.tiny import TinyConfig

FIGURES = ("loss", "right_tokens", "right_answers")
"""What validation says of every task; the first is better when low, the others when high."""


class RecipeError(FinetuneError):
    """A recipe is wrong; the message names the key."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters instead of training all weights."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    vision: bool = False
    """Adapt the vision part too."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run."""

    scratch: TinyConfig | None = None
    """Sizes of a model to make from nothing; else training starts from a model folder."""
    lora: LoraSettings | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 1.0))
    """Each task's share of the batches, which is about its share of the computing time. Besides the
    tasks of records there is `picture_words`, which teaches the vision part alone."""
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    """What the mean loss of a task's batches is multiplied by; 1 where nothing is said."""
    listwise_weight: float = 0.0
    """How much a list loss over the branches of a scoring group adds to their cross entropy."""
    augmentation: Augmentation | None = None
    """Changes to training pictures; None for none."""
    minutes: float | None = None
    """Wall time that the schedule is laid over, evaluations and checkpoints included."""
    steps: int | None = None
    """Optimiser steps; exactly one of `minutes` and `steps` is given."""
    tokens_per_batch: int = 8192
    """Padded tokens of one forward pass."""
    pictures_per_batch: int = 48
    """Pictures of one forward pass of `picture_words`."""
    accumulate: int = 1
    """Batches of one optimiser step; consecutive batches mix the tasks."""
    learning_rate: float = 1e-3
    warmup: float = 0.03
    """Share of the run."""
    muon_rate: float | None = None
    """Learning rate of Muon for the matrices of the layers; None for AdamW everywhere."""
    final_rate: float = 0.05
    """Learning rate at the end, as a share of the highest."""
    weight_decay: float = 0.05
    max_gradient: float = 1.0
    """Gradients are scaled down to this norm."""
    bf16: bool = True
    compile: bool = False
    """Fuse the layers' operations with torch.compile; needs a C++ compiler on CPUs."""
    checkpoint_minutes: float = 5.0
    best: str | None = None
    """A validation figure, `score_target_loss` or `fuse_right_answers`; the model that was best by
    it is kept beside the last."""
    validation_records: int = 100
    """So many of each task are looked at with every checkpoint, and at the end."""
    log_steps: int = 20
    max_length: int = 4096
    """Tokens; longer records are dropped and counted, never cut."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if (self.minutes is None) == (self.steps is None):
            raise RecipeError("give exactly one of 'minutes' and 'steps'")
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
                raise RecipeError(f"{name!r} names {sorted(unknown)}; tasks are {list(TASKS)}")
        figures = [f"{task}_{kind}" for task in TASKS for kind in FIGURES]
        if self.best is not None and self.best not in figures:
            raise RecipeError(f"'best' names {self.best!r}; it must be one of {figures}")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe.

        Raises:
            RecipeError: It is no TOML, a key is unknown or a value contradicts another.
        """
        try:
            return cls.of(tomllib.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise RecipeError(f"the recipe {str(path)!r} cannot be read: {error}") from error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make a recipe of plain values, as they stand in the file."""
        kinds: dict[str, Any] = {
            "scratch": TinyConfig,
            "lora": LoraSettings,
            "augmentation": Augmentation,
        }
        given = {
            key: _fill(kinds[key], value, key) if key in kinds else value
            for key, value in values.items()
        }
        made = _fill(cls, given, "the recipe")
        assert isinstance(made, cls)
        return made


def _fill(kind: Any, values: Mapping[str, Any], place: str) -> Any:
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise RecipeError(f"unknown key {sorted(unknown)[0]!r} in {place}")
    return kind(**values)
