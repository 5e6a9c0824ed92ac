"""Pictures of an evaluation, as PNG files."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.metrics import Bin
from mllm_srec.finetune.evaluation.report import WITH_INTERVAL, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, OTHERS = "#c2410c", "#64748b"
DPI = 150


def require_drawable(path: Path) -> None:
    """Refuse a file that no picture can be drawn to, before long work makes what it shows.

    Raises:
        FinetuneError: Its folder is missing, it is a folder itself, or matplotlib is not there.
    """
    if path.is_dir() or not path.parent.is_dir():
        problem = "it is a folder" if path.is_dir() else f"there is no {str(path.parent)!r}"
        raise FinetuneError(
            f"no picture can be drawn to {str(path)!r} ({problem}): give a file in a folder that "
            "exists"
        )
    if find_spec("matplotlib") is None:
        raise FinetuneError(
            "a picture needs matplotlib: install `mllm-srec[finetune]`, or leave `--png` out"
        )


def draw_comparison(report: Report, path: Path) -> None:
    """Draw every row as a bar with its bootstrap interval, one panel a measure."""
    figure = _figure(9.0, 1.2 + 0.32 * len(report.rows))
    panels = figure.subplots(1, len(WITH_INTERVAL), sharey=True, squeeze=False)[0]
    names = [row.name for row in report.rows]
    for axes, measure in zip(panels, WITH_INTERVAL, strict=True):
        values = [row.figures[measure] for row in report.rows]
        # Where all users have one value the ends may miss it by a rounding, and no bar goes back.
        reach = [
            [max(row.figures[measure] - row.figures[f"{measure}_low"], 0.0) for row in report.rows],
            [
                max(row.figures[f"{measure}_high"] - row.figures[measure], 0.0)
                for row in report.rows
            ],
        ]
        colours = [OURS if name == "full" else OTHERS for name in names]
        axes.barh(names, values, xerr=reach, color=colours, capsize=2, error_kw={"lw": 1})
        axes.set_title(measure, fontsize=10)
        _plain(axes)
    panels[0].invert_yaxis()
    figure.suptitle(
        f"{report.protocol} ranking, {report.users:,} users, {report.items:,} items{report.means}; "
        "bars: 95 % over users",
        fontsize=9,
    )
    figure.savefig(path, format="png", dpi=DPI)


def draw_reliability(bins: Sequence[Bin], error: float, path: Path) -> None:
    """Draw the share of positives against the probability that was claimed.

    Args:
        bins: One or more.
        error: Their calibration error, for the title.
        path: A PNG file.
    """
    figure = _figure(4.5, 5.5)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    claimed = [one.claimed for one in bins]
    upper.plot([0, 1], [0, 1], color=OTHERS, lw=1, ls="--")
    upper.plot(claimed, [one.found for one in bins], color=OURS, marker="o", ms=4)
    upper.set_ylabel("share that was liked")
    upper.set_title(f"calibration error {error:.3f}", fontsize=10)
    lower.bar(claimed, [one.weight for one in bins], width=0.05, color=OTHERS)
    lower.set_ylabel("pairs")
    lower.set_xlabel("probability")
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        _plain(axes)
    figure.savefig(path, format="png", dpi=DPI)


def _figure(width: float, height: float) -> "Figure":
    # Late: only who asks for a picture waits for it, and without pyplot no screen is looked for.
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, height), layout="constrained")


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
