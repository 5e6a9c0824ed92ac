"""The curve over the number of photographs, as a table and as a picture."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from bench.domains.clothing import STARTS, Point, Start

COLOURS: dict[Start, str] = {"srec-tiny": "#c2410c", "scratch": "#64748b"}
NAMES: dict[Start, str] = {
    "srec-tiny": "from srec-tiny",
    "scratch": "the same network from scratch",
}


def table(points: Sequence[Point]) -> Iterator[str]:
    """Yield the lines of a table: one row a number of photographs, one column a start."""
    yield f"| photos | {' | '.join(NAMES[start] for start in STARTS)} |"
    yield f"| ---: |{' ---: |' * len(STARTS)}"
    for count in sorted({point.photos for point in points}):
        cells = (_cell(points, count, start) for start in STARTS)
        yield f"| {count:,} | {' | '.join(cells)} |"


def _cell(points: Sequence[Point], count: int, start: Start) -> str:
    for point in points:
        if (point.photos, point.start) == (count, start):
            low, high = point.interval
            return f"{_short(point.accuracy)} [{_short(low)}, {_short(high)}]"
    return "-"


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def draw(points: Sequence[Point], path: Path, *, minutes: float, part: str) -> None:
    """Draw accuracy over the number of photographs, with the intervals over the photographs."""
    canvas = Canvas(figsize=(6.0, 4.0), layout="constrained")
    axes = canvas.subplots()
    for start in STARTS:
        line = sorted((one for one in points if one.start == start), key=lambda one: one.photos)
        below = [one.accuracy - one.interval[0] for one in line]
        above = [one.interval[1] - one.accuracy for one in line]
        axes.errorbar(
            [one.photos for one in line],
            [one.accuracy for one in line],
            yerr=[below, above],
            color=COLOURS[start],
            label=NAMES[start],
            marker="o",
            ms=4,
            capsize=3,
        )
    axes.axhline(points[0].majority, color="black", lw=1, ls="--", label="the most frequent class")
    axes.set_xscale("log")
    counts = sorted({point.photos for point in points})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1)
    axes.set_xlabel("photographs with a label")
    axes.set_ylabel("class named right, from the picture alone")
    axes.set_title(f"{points[0].items} {part} photographs, {minutes:g} minutes each", fontsize=10)
    axes.legend(frameon=False)
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=150)
    path.write_bytes(file.getvalue())
