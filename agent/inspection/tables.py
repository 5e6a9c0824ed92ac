"""A table about a node, and how its cells are read from what was recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table about a node."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, **({"note": self.note} if self.note else {})}


def entries(value: object) -> list[Mapping[str, Any]]:
    """A list of objects; nothing for anything else (redacted, cut, of another version)."""
    found = value if isinstance(value, list) else []
    return [entry for entry in found if isinstance(entry, Mapping)]


def decimal(value: object, *, sign: bool = False) -> str:
    """A number with three decimals, `-` for anything else."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:+.3f}" if sign else f"{value:.3f}"
