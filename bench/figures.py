"""A measured figure, the file of all figures, and the table that a person reads."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value with its limit."""

    name: str
    value: float
    limit: float
    at_least: bool
    """Whether the limit is the lowest value that passes; else it is the highest."""
    detail: str
    """What the value is made of."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Numbers measured along with it, by name: what `bench.cost` reckons from."""

    @property
    def passed(self) -> bool:
        """Whether the limit is reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """The figure as it stands in the file."""
        return {
            "value": self.value,
            "limit": self.limit,
            "passed": self.passed,
            "command": f"python -m bench --only {self.name}",
            "at_least": self.at_least,
            "detail": self.detail,
            "parts": dict(self.parts),
        }


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over the repetitions of one value through the other of the same repetition."""
    return median(a / b for a, b in zip(above, below, strict=True))


def exit_code(figures: Sequence[Figure], failed: Collection[str] = ()) -> int:
    """0 when every figure reaches its limit, else 1; nothing measured is nothing reached.

    Args:
        figures: Measured.
        failed: Names of those that could not be.
    """
    return 0 if figures and not failed and all(figure.passed for figure in figures) else 1


def write(path: Path, figures: Iterable[Figure], made: Mapping[str, Any]) -> None:
    """Put figures into the file; those that were not measured now stay as they are.

    Args:
        path: The file.
        figures: Measured now.
        made: What they were measured on, see `machine.made_on`.
    """
    held = json.loads(path.read_text("utf-8")) if path.exists() else {}
    told = {name: made[name] for name in ("date", "machine", "versions")}
    held |= {figure.name: figure.to_dict() | told for figure in figures}
    path.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n", "utf-8")


def table(figures: Iterable[Figure], failed: Mapping[str, str] | None = None) -> str:
    """The figures, one a line, and those that could not be measured, with the reason."""
    rows = [("figure", "value", "limit", "", "")]
    for figure in figures:
        sign = ">=" if figure.at_least else "<="
        verdict = "ok" if figure.passed else "MISSED"
        value, limit = f"{figure.value:.3g}", f"{sign} {figure.limit:.3g}"
        rows.append((figure.name, value, limit, verdict, figure.detail))
    rows += [(name, "-", "-", "FAILED", why) for name, why in (failed or {}).items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"
