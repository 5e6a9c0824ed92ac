"""The loss of every task over a run: as lines of blocks for a terminal, and as a picture."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from rich.table import Table
from rich.text import Text

from mllm_srec.store.files import disk_errors

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 24
"""Blocks of a line: with names and numbers it fits 80 columns."""
TRAINING, VALIDATION = "training", "validation"

Curve = Sequence[tuple[int, float]]
"""Steps and losses, in the order of the steps."""
Curves = Mapping[tuple[str, str], Curve]
"""Curves by task and by where the loss was measured, `training` or `validation`."""


def read_curves(log: Path) -> Curves:
    """The losses of a log.

    A run that was killed and went on logged some steps twice; the last time counts. A line that was
    cut when the disk was full is left out, and so is the one that was then written behind it.
    """
    found: dict[tuple[str, str], dict[int, float]] = {}
    for line in log.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        for key, value in entry.items():
            if name := _name(key):
                found.setdefault(name, {})[entry["step"]] = value
    return {name: sorted(points.items()) for name, points in sorted(found.items())}


def _name(key: str) -> tuple[str, str] | None:
    if key.startswith("loss_"):
        return key.removeprefix("loss_"), TRAINING
    if key.startswith("eval_") and key.endswith("_loss"):
        return key.removeprefix("eval_").removesuffix("_loss"), VALIDATION
    return None


def curve_table(curves: Curves) -> Table:
    """One line a curve: the first loss, its way down on a logarithmic scale, the last."""
    table = Table.grid(padding=(0, 2))
    for (task, part), curve in curves.items():
        first, last = f"{curve[0][1]:.3g}", f"{curve[-1][1]:.3g}"
        line = Text(blocks(curve), "cyan", no_wrap=True)
        table.add_row(task, Text(part, "dim"), first, line, last)
    return table


def blocks(curve: Curve, width: int = WIDTH) -> str:
    """A curve as blocks, each the mean of its share of the points; high as the logarithm says."""
    values = [loss for _, loss in curve if math.isfinite(loss)]
    count = min(width, len(values))
    bounds = [len(values) * cell // count for cell in range(count + 1)] if count else [0]
    cells = [values[start:stop] for start, stop in pairwise(bounds)]
    heights = [math.log(_bounded(sum(cell) / len(cell))) for cell in cells]
    low, high = min(heights, default=0.0), max(heights, default=0.0)
    scale = (len(BLOCKS) - 1) / max(high - low, 1e-9)
    return "".join(BLOCKS[round((height - low) * scale)] for height in heights)


def _bounded(loss: float) -> float:
    return min(max(loss, 1e-6), 1e6)


def write_png(curves: Curves, path: Path) -> None:
    """Draw the curves, one panel a task: training as a line, validation as dots.

    Raises:
        StoreError: The disk is full.
    """
    # Slow to import, and needed once a run.
    from matplotlib.figure import Figure  # noqa: PLC0415

    tasks = sorted({task for task, _ in curves})
    columns = min(max(len(tasks), 1), 3)
    rows = math.ceil(max(len(tasks), 1) / columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, task in zip(axes, tasks, strict=False):
        for part, style in ((TRAINING, "-"), (VALIDATION, "o")):
            steps, values = zip(*curves.get((task, part), [(math.nan, math.nan)]), strict=True)
            panel.plot(steps, values, style, markersize=3, linewidth=1)
        panel.set(title=task, yscale="log")
    for panel in axes[len(tasks) :]:
        panel.set_visible(False)
    figure.supxlabel("step")
    figure.supylabel("loss (line: training, dots: validation)")
    with disk_errors(path):
        figure.savefig(path, dpi=120)
