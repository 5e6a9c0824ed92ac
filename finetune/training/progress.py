"""A training run as who started it sees it: a bar when a person watches, plain lines otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mllm_srec.finetune.training.meter import Show, Standing

EVERY_S = 5.0
"""Seconds between two plain lines."""


@contextmanager
def watched(console: Console, say: Callable[[str], None]) -> Iterator[Show]:
    """Give what shows a run on a console, or says it line by line where it is no terminal."""
    if not console.is_terminal:
        yield PlainLines(say)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda standing: live.update(view(standing))


class PlainLines:
    """Says now and then where a run stands."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._said = -sys.float_info.max

    def __call__(self, standing: Standing) -> None:
        """Say it, if it is time to."""
        now = self._clock()
        if now - self._said >= EVERY_S or standing.progress >= 1.0:
            self._said = now
            self._say(f"{headline(standing)}: {losses(standing)}")


def view(standing: Standing) -> RenderableType:
    """Where a run stands, in two lines."""
    head = Table.grid(padding=(0, 2))
    head.add_row(
        ProgressBar(total=1.0, completed=standing.progress, width=30), Text(headline(standing))
    )
    return Group(head, Text(losses(standing), "dim"))


def headline(standing: Standing) -> str:
    """Step, speed and time left."""
    return (
        f"step {standing.step:,}, {standing.tokens_per_second:,.0f} tokens/s, "
        f"{duration(standing.seconds_left)} left"
    )


def losses(standing: Standing) -> str:
    """The loss of every task."""
    return ", ".join(f"{task} {loss:.3g}" for task, loss in sorted(standing.losses.items()))


def duration(seconds: float) -> str:
    """A time as people say it: `42 s`, `12 min`, `1 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
