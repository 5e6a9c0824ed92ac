"""Progress of long work as bars: how many, how fast, how long still."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from mllm_srec.agent.results import Progress as ProgressCall
from mllm_srec.agent.terminal.output import speed, stage_name


class _Rate(ProgressColumn):
    """Items, or what else a stage counts, a second."""

    def render(self, task: Task) -> Text:
        """The rate of a task, over its last seconds while it runs."""
        rate = task.finished_speed or task.speed
        shown = "" if rate is None else speed(task.fields["stage"], rate)
        return Text(shown, "progress.data.speed")


@contextmanager
def bars(console: Console) -> Iterator[ProgressCall]:
    """One bar a stage, each done when the next begins; it takes what width the words leave."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        _Rate(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, expand=True) as shown:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage_name(stage), total=None, stage=stage)
            shown.update(tasks[stage], completed=done, total=total)

        yield show
