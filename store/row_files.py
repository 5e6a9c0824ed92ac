"""Rows of JSON lines, CSV and Parquet files, as they stand there."""

import ast
import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from mllm_srec.store import amazon
from mllm_srec.store.errors import InputError
from mllm_srec.store.fields import shown

Values = Mapping[str, Any]

_SLICE = 200_000
"""Rows of a Parquet file in memory at a time."""

_MAX_CELL = 2**31 - 1
"""Characters of a CSV field that are read; the reader's own bound would break a long description
into rows."""

# How files begin that are no UTF-8 text; the longer beginnings first.
_OTHER_KINDS = {
    b"\xff\xfe\x00\x00": "UTF-32: convert it with iconv -f utf-32 -t utf-8",
    b"\xff\xfe": "UTF-16: convert it with iconv -f utf-16 -t utf-8",
    b"\xfe\xff": "UTF-16: convert it with iconv -f utf-16 -t utf-8",
    b"\x1f\x8b": "compressed by gzip: let its name end in .gz",
    b"PAR1": "Parquet: let its name end in .parquet",
    b"PK\x03\x04": "a ZIP archive or a workbook: unpack it, or export it as CSV in UTF-8",
}


def read_rows(
    path: Path, columns: tuple[str, ...], unread: set[str]
) -> Iterator[tuple[int, Values | str]]:
    """Yield line and values of each row; a text in the place of values says what is wrong.

    Args:
        path: The file.
        columns: What a row may have; those that end in `_id` stand in every file.
        unread: Gets the names of the fields that the file has besides.

    Raises:
        InputError: The file cannot be read, is empty, not UTF-8, or of no known format.
    """
    name = path.name.lower().removesuffix(".gz")
    readers = {
        ".jsonl": _json_rows,
        ".json": _json_rows,
        ".ndjson": _json_rows,
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    reader = readers.get(Path(name).suffix)
    try:
        if path.is_dir():
            raise InputError(f"{str(path)!r} is a folder: name a file")
        if reader is None:
            raise InputError(
                f"{str(path)!r}: no reader for this ending; known are {', '.join(readers)}, "
                "all but Parquet also with .gz"
            )
        rows = 0
        for row in reader(path, columns, unread):
            rows += 1
            yield row
        if not rows:
            raise InputError(f"{str(path)!r} is empty: it has no rows")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read: {reason}") from error


def _json_rows(
    path: Path, columns: tuple[str, ...], unread: set[str]
) -> Iterator[tuple[int, Values | str]]:
    first = True
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        if first and (line.lstrip().startswith("[") or line.strip() == "{"):
            raise InputError(
                f"{str(path)!r} has not one JSON object a line: convert it with jq -c '.[]' where "
                "it is one list, with jq -c . where its objects stand over several lines"
            )
        first = False
        try:
            values = _json(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            yield number, _not_json(error)
            continue
        if isinstance(values, dict):
            values = amazon.renamed_row(values)
            unread |= values.keys() - columns
            yield number, values
        else:
            yield number, f"expected a JSON object, got {type(values).__name__}"


def _not_json(error: Exception) -> str:
    # Python's own words tell how to change Python.
    if str(error).startswith("Exceeds the limit"):
        return f"a number of over {sys.get_int_max_str_digits():,} digits: write it as text"
    return f"not JSON: {error}"


def _json(line: str) -> object:
    # Amazon's metadata of 2014 are Python literals, not JSON.
    if line.startswith("{'"):
        return ast.literal_eval(line)
    return json.loads(line)


def _csv_rows(
    path: Path, columns: tuple[str, ...], unread: set[str]
) -> Iterator[tuple[int, Values | str]]:
    csv.field_size_limit(_MAX_CELL)
    # Strict: else a quote that is not closed takes the rows behind it into its field, unseen.
    reader = csv.reader(_csv_lines(path), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = _not_csv(error, line, reader.line_num)
            if header is None:
                raise InputError(f"{str(path)!r}, header in line {line}: {reason}") from error
            # Each line may have been a row: all of them count as bad.
            for lost in range(line, reader.line_num + 1):
                yield lost, reason
            continue
        if not cells:
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            _check_columns(path, header, columns, unread)
        elif len(cells) != len(header):
            yield line, f"{len(cells)} fields where the header has {len(header)}"
        else:
            yield (
                line,
                amazon.renamed_row({k: v or None for k, v in zip(header, cells, strict=True)}),
            )


def _not_csv(error: csv.Error, first: int, last: int) -> str:
    # Python's own words tell how to open the file in Python.
    if str(error).startswith("new-line character"):
        return (
            "not CSV: a carriage return ends a line alone: convert the file with tr '\\r' '\\n', "
            "or write quotes around a field that has one"
        )
    reason = f"not CSV: {error}"
    if last > first:
        reason += f"; a quote opens in line {first} or behind it and is not closed"
    return f"{reason}; inside a field a quote is written twice"


def _csv_lines(path: Path) -> Iterator[str]:
    lines = _lines(path)
    first = next(lines, "")
    if first.startswith(("{", "[")):
        raise InputError(f"{str(path)!r} holds JSON: let its name end in .jsonl")
    return chain([first], lines)


def _parquet_rows(
    path: Path, columns: tuple[str, ...], unread: set[str]
) -> Iterator[tuple[int, Values | str]]:
    if path.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty: it has no rows")
    try:
        lazy = pl.scan_parquet(path, glob=False)
        schema = lazy.collect_schema()
        _check_columns(path, schema.names(), columns, unread)
        unit = amazon.time_unit(schema)
        known = lazy.select(
            # As numbers: Python's own dates end with the year 9999 and those of a file do not.
            pl.col(name).dt.epoch(unit)
            if name == "timestamp" and isinstance(kind, (pl.Date, pl.Datetime))
            else name
            for name, kind in schema.items()
            if name in {*columns, *amazon.names_of(schema)}
        )
        offset = 0
        while (part := known.slice(offset, _SLICE).collect()).height:
            for row in part.iter_rows(named=True):
                offset += 1
                yield offset, amazon.renamed_row(row)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"{str(path)!r} is no readable Parquet file: {error}") from error


def _check_columns(
    path: Path, found: list[str], columns: tuple[str, ...], unread: set[str]
) -> None:
    ids = [name for name in columns if name.endswith("_id")]
    ours = amazon.names_of(found)
    names = {ours.get(name, name) for name in found}
    missing = [name for name in ids if name not in names]
    if missing:
        other = next((mark for mark in ";\t|" if len(found) == 1 and mark in found[0]), None)
        if other:
            raise InputError(
                f"{str(path)!r} has {other!r} between its fields: write it with commas, "
                "and decimals with a '.'"
            )
        raise InputError(
            f"{str(path)!r} has no column {missing[0]!r}: it has {shown(found)}, "
            f"wanted are {', '.join(columns)}"
        )
    for name in columns:
        if found.count(name) > 1:
            raise InputError(f"{str(path)!r} has two columns {name!r}: keep one of them")
    unread |= names.difference(columns)


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                _check_kind(path, line)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{str(path)!r} is not UTF-8 at line {number}: convert it, for example with "
                    "iconv -f latin1 -t utf-8"
                ) from error


def _check_kind(path: Path, start: bytes) -> None:
    """Refuse a file that is no UTF-8 text, by its first line, and say what it is."""
    kind = next((kind for sign, kind in _OTHER_KINDS.items() if start.startswith(sign)), None)
    if kind is None and b"\0" in start[:2]:
        # Without the mark of the byte order: every other byte of plain letters is a zero.
        kind = f"UTF-16: convert it with iconv -f utf-16{'be' if start[0] == 0 else 'le'} -t utf-8"
    if kind:
        raise InputError(f"{str(path)!r} is not UTF-8 text but {kind}")
