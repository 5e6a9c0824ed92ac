"""Bytes of each thing that a home keeps, and what more of them would take.

Only what grows in proportion is multiplied.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Kept:
    """One kind of thing in a home."""

    what: str
    count: int
    size: int
    """Bytes on disk, indexes included."""

    @property
    def each(self) -> float:
        """Bytes of one."""
        return self.size / max(self.count, 1)


def kept(home: Path) -> list[Kept]:
    """Count what the catalogue and the vectors of a home take.

    Raises:
        FileNotFoundError: The folder is not a home with a catalogue of its own.
    """
    path = home / "catalogue.sqlite"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: give a home that keeps its own catalogue")
    tables = {
        "items": ["items"],
        "descriptions": ["representations"],
        "interactions": ["interactions", "interactions_of_item"],
    }
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        pages = dict(database.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
        found = [
            Kept(what, _count(database, names[0]), sum(pages.get(name, 0) for name in names))
            for what, names in tables.items()
        ]
    described = next(one.count for one in found if one.what == "descriptions")
    vectors, pictures = _sizes(home / "vectors"), _sizes(home / "pictures")
    found += [
        Kept("vectors", described, sum(vectors)),
        Kept("pictures", len(pictures), sum(pictures)),
    ]
    return [one for one in found if one.count]


def _sizes(folder: Path) -> list[int]:
    """Bytes of each file below a folder."""
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def _count(database: sqlite3.Connection, table: str) -> int:
    row: tuple[int] = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row[0]


def lines(found: list[Kept], items: int, interactions: int) -> list[str]:
    """The table: measured, and in proportion."""
    rows = [
        "| what | measured | bytes each | at the size planned for |",
        "| --- | ---: | ---: | ---: |",
    ]
    for one in found:
        wanted = interactions if one.what == "interactions" else items
        rows.append(
            f"| {one.what} | {one.count:,} | {one.each:,.0f} "
            f"| {wanted:,}: {wanted * one.each / GIB:,.1f} GiB |"
        )
    return rows
