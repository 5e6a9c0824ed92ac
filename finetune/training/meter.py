"""Where a training run stands: for its log, and for who watches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mllm_srec.finetune.training.clock import Clock

_KEPT = 0.9
"""Share of a task's shown loss that a new batch leaves as it was."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A run after one of its steps."""

    step: int
    progress: float
    """Share of the run that is done, 0 to 1."""
    tokens_per_second: float
    seconds_left: float
    losses: Mapping[str, float]
    """A moving mean for each task."""


Show = Callable[[Standing], None]
"""Shows where a run stands; called after every step, so it chooses what to leave out."""


def unseen(_: Standing) -> None:
    """Show nothing."""


class Meter(TrainerCallback):
    """Counts tokens and losses."""

    def __init__(self, clock: Clock, show: Show = unseen) -> None:
        self._clock = clock
        self._show = show
        self._begun = clock.elapsed
        self._sums: dict[str, list[float]] = {}
        self._recent: dict[str, float] = {}
        self.tokens = 0
        """Real tokens learned from so far in this process."""

    def add(self, task: str, loss: float, tokens: int) -> None:
        """Take in one batch."""
        self.tokens += tokens
        self._sums.setdefault(task, []).append(loss)
        self._recent[task] = _KEPT * self._recent.get(task, loss) + (1 - _KEPT) * loss

    def take(self) -> dict[str, float]:
        """What the log says: the mean losses since the last time, tokens, speed and time left."""
        facts = {f"loss_{task}": sum(each) / len(each) for task, each in self._sums.items()}
        self._sums.clear()
        return facts | {
            "tokens": float(self.tokens),
            "tokens_per_second": self.tokens_per_second,
            "seconds": self._clock.elapsed,
            "seconds_left": self._clock.seconds_left,
        }

    @property
    def tokens_per_second(self) -> float:
        """Mean speed of this process."""
        return self.tokens / max(self._clock.elapsed - self._begun, 1e-9)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Show where the run stands."""
        self._show(
            Standing(
                state.global_step,
                self._clock.progress,
                self.tokens_per_second,
                self._clock.seconds_left,
                dict(self._recent),
            )
        )
