"""How far a training run is: over wall time or over steps."""

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from mllm_srec.finetune.training.processes import agreed
from mllm_srec.finetune.training.recipe import Recipe


class Clock(TrainerCallback, ExportableState):
    """Lays the run over wall time or over steps, and stops it; goes on where a checkpoint was."""

    def __init__(self, recipe: Recipe, elapsed: float = 0.0) -> None:
        self._recipe = recipe
        self._before = elapsed
        self._started = time.monotonic()
        self._passed = 0.0
        self._checkpoint = elapsed
        self.step = 0

    @property
    def elapsed(self) -> float:
        """Seconds of training up to the last step, earlier runs of the same folder included.

        So the rate of a step follows from when the one before it began.
        """
        return self._before + self._passed

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        if self._recipe.minutes is not None:
            return min(1.0, self.elapsed / (60 * self._recipe.minutes))
        assert self._recipe.steps is not None
        return min(1.0, self.step / self._recipe.steps)

    @property
    def seconds_left(self) -> float:
        """Until the end, at the speed so far."""
        if self._recipe.minutes is not None:
            return max(0.0, 60 * self._recipe.minutes - self.elapsed)
        return self.elapsed * (1 - self.progress) / max(self.progress, 1e-9)

    def rate(self, step: int) -> float:
        """Learning rate as a share of the highest: linear warmup, then a cosine."""
        self.step = step
        done, warmup, last = self.progress, self._recipe.warmup, self._recipe.final_rate
        if done < warmup:
            return max(done / warmup, 1e-3)
        fallen = (done - warmup) / (1 - warmup)
        return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * fallen))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start to count: what came before was loading."""
        self._started = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint when it is time, and for the end when time is up."""
        # Of several processes all go by one clock: rates that differ would part their weights.
        self._passed = agreed(time.monotonic() - self._started)
        if self.elapsed - self._checkpoint > 60 * self._recipe.checkpoint_minutes:
            self._checkpoint = self.elapsed
            control.should_save = True
            control.should_evaluate = True
        if self._recipe.minutes is not None and self.progress >= 1.0:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": {"elapsed": self.elapsed}}

    @staticmethod
    def elapsed_at(checkpoint: str | None) -> float:
        """Seconds that training had taken when a checkpoint was written."""
        if checkpoint is None:
            return 0.0
        kept = json.loads(Path(checkpoint, "trainer_state.json").read_text("utf-8"))
        return float(kept["stateful_callbacks"]["Clock"]["attributes"]["elapsed"])
