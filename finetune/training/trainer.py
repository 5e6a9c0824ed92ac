"""TRL's SFTTrainer for mixed tasks, trees and pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from trl import SFTTrainer

from mllm_srec.finetune.data.records import TASKS
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.batches import Draws, TaskBatches
from mllm_srec.finetune.training.best_model import BestModel
from mllm_srec.finetune.training.clock import Clock
from mllm_srec.finetune.training.encode import Encoded
from mllm_srec.finetune.training.losses import (
    Collate,
    learn_answers_only,
    list_loss,
    members_by_task,
    read_answers,
    validate,
    word_loss,
)
from mllm_srec.finetune.training.meter import Meter
from mllm_srec.finetune.training.muon import Muon
from mllm_srec.finetune.training.picture_words import PICTURE_WORDS
from mllm_srec.finetune.training.processes import leads, processes, wait
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.whole_folder import partial_folder, whole_folder
from mllm_srec.store.files import disk_errors

LOG = "log.jsonl"

CHECKPOINTS = 2
"""So many of the last checkpoints are kept."""

_LOGGED = (*TASKS, PICTURE_WORDS)


class Diverged(FinetuneError):
    """A loss is no number any more, and so is what was learned."""


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]  # TRL ships no types
    """TRL's trainer with the loss, the batches and the validation of this package.

    TRL's own loss scores every position where there is no Triton, and adds entropy and accuracy:
    with one answer token in five read, that is most of the head's work for nothing.
    """

    optimizer: torch.optim.Optimizer | None
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None

    def __init__(
        self,
        *,
        records: Mapping[str, Sequence[Encoded]],
        collators: Mapping[str, Collate],
        recipe: Recipe,
        clock: Clock,
        meter: Meter,
        labels: tuple[int, int],
        best: BestModel | None,
        **given: Any,
    ) -> None:
        """Take the records besides what `SFTTrainer` takes.

        Args:
            records: `train` and `validation`.
            collators: One for each of them.
            recipe: The run's settings.
            clock: The run's clock.
            meter: Counts what is learned.
            labels: Tokens of Yes and No.
            best: Keeps the best model, where the recipe names a figure.
            given: For `SFTTrainer`.
        """
        self._records = records
        self._collators = collators
        self._recipe = recipe
        self._clock = clock
        self._meter = meter
        self._labels = labels
        self._best = best
        self._saved_below: Path | None = None
        super().__init__(
            train_dataset=_numbers(records["train"]),
            data_collator=_with_task(records["train"], collators["train"], recipe.seed),
            callbacks=[clock, meter],
            **given,
        )
        # The meter shows more, and leaves standard output to the result.
        self.remove_callback(PrinterCallback)
        learn_answers_only(self.model)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of one task each."""
        train = self._records["train"]
        plan = TaskBatches(
            members_by_task(
                train, self._recipe.tokens_per_batch // self._recipe.pictures_per_batch
            ),
            self._recipe.shares,
            tokens=self._recipe.tokens_per_batch,
            count=self.args.max_steps * self.args.gradient_accumulation_steps * processes(),
            seed=self._recipe.seed,
        )
        loader = DataLoader(
            Draws(len(train)),
            batch_sampler=plan,
            collate_fn=self.data_collator,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def create_optimizer(self, *args: Any, **given: Any) -> torch.optim.Optimizer:
        """Muon where the recipe asks for it, else AdamW."""
        if self._recipe.muon_rate is None:
            adamw: torch.optim.Optimizer = super().create_optimizer(*args, **given)
            return adamw
        if self.optimizer is None:
            self.optimizer = Muon(
                self.model,
                rate=self._recipe.learning_rate,
                muon_rate=self._recipe.muon_rate,
                weight_decay=self._recipe.weight_decay,
            )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule over wall time or steps."""
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.create_optimizer(), self._clock.rate
            )
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Weighted mean cross entropy of the answer tokens.

        Raises:
            Diverged: It is not finite.
        """
        task = _LOGGED[int(inputs.pop("task"))]
        tokens = int(inputs.pop("tokens"))
        lists = inputs.pop("lists", None)
        if task == PICTURE_WORDS:
            loss = word_loss(model, inputs)
        else:
            answers = read_answers(model, inputs)
            loss = answers.loss
            if lists is not None:
                loss = loss + self._recipe.listwise_weight * list_loss(
                    answers, lists, *self._labels
                )
        self._require_finite({f"{task}_loss": loss.item()}, self.state.global_step + 1)
        self._meter.add(task, loss.item(), tokens)
        return loss * self._recipe.loss_weights.get(task, 1.0)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add tokens, speed, each task's loss and the time left to what is logged."""
        logs |= self._meter.take()
        super().log(logs, start_time)
        if not leads():
            return
        line = {key: _short(value) for key, value in logs.items()} | {
            "step": self.state.global_step
        }
        path = Path(self.args.output_dir, LOG)
        with disk_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Validation of every task: loss, tokens right, answers right; of scoring the AUC.

        An answer is right when each of its tokens is the most likely one after the right ones
        before it: then greedy decoding gives just this answer. It comes before a checkpoint is
        written, so that none holds weights that are no numbers.

        Raises:
            Diverged: A figure is not finite.
        """
        # Compiling the layers once more, without gradients, takes longer than this does.
        with torch.compiler.set_stance("force_eager"):
            figures = validate(
                self.model,
                _first(self._records["validation"], self._recipe.validation_records),
                self._collators["validation"],
                labels=self._labels,
                tokens=self._recipe.tokens_per_batch,
                bf16=self._recipe.bf16,
            )
        self._require_finite(figures, self.state.global_step)
        metrics = {f"eval_{name}": value for name, value in figures.items()}
        self.log(dict(metrics))
        if self._best is not None and leads():
            self._best.offer(figures, self.state.global_step, self.model)
        return metrics

    def _require_finite(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            if not math.isfinite(value):
                raise Diverged(
                    f"{name!r} is {value} in step {step}: train in another folder with lower "
                    "rates ('learning_rate', 'muon_rate'); the checkpoints and the best model in "
                    f"{str(self.args.output_dir)!r} are of earlier steps, and usable"
                )

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: TRL's names no base, no data and no licence; `export` writes the card."""

    def _get_output_dir(self, trial: Any) -> str:
        """Where transformers makes the folder of a checkpoint."""
        return str(self._saved_below or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint whole or not at all, then let the oldest go.

        Raises:
            WriteError: The disk is full.
        """
        out = Path(self.args.output_dir)
        folder = out / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        # The others add the state of their random numbers to what the first process writes.
        with whole_folder(folder) if leads() else nullcontext(partial_folder(folder)) as partial:
            wait()
            self._saved_below = partial.parent
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._saved_below = None
            wait()
        if leads():
            rotate_checkpoints(str(out), save_total_limit=CHECKPOINTS)


def _with_task(records: Sequence[Encoded], collate: Collate, seed: int) -> Any:
    """Make batches of record numbers, each with what the log says of it."""

    def numbered(drawn: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        chosen = [records[number] for _, number in drawn]
        # The loader works ahead of the steps: with a seed for each batch, a run that goes on from
        # a checkpoint sees its pictures changed as it would have seen them.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_mixed(seed, drawn[0][0]))
            batch = collate(chosen)
        batch["task"] = torch.tensor(_LOGGED.index(chosen[0].task))
        batch["tokens"] = torch.tensor(sum(record.length for record in chosen))
        return batch

    return numbered


def _mixed(seed: int, batch: int) -> int:
    return int(np.random.SeedSequence([seed, batch]).generate_state(1)[0])


def _numbers(records: Sequence[Encoded]) -> Dataset:
    """TRL wants a Dataset; the records stay where they are."""
    return Dataset.from_dict({"number": list(range(len(records)))})


def _first(records: Sequence[Encoded], each: int) -> list[Encoded]:
    """The first so many records of every task."""
    left: dict[str, int] = {}
    kept = []
    for record in records:
        left[record.task] = left.get(record.task, each) - 1
        if left[record.task] >= 0:
            kept.append(record)
    return kept


def _short(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
