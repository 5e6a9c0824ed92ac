"""Values of input rows as typed fields: cleaned, or refused with a reason."""

import ast
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

MAX_ID = 200
"""Longest id, characters."""

_EXACT = 2**53
"""Beyond it a float no longer tells whole numbers apart."""

# Escape sequences of terminals: CSI, then strings such as titles and links, then two-byte ones.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
)

# Control characters, marks that reverse or hide text (a reader sees other words than a model),
# invisible tags, and halves of surrogate pairs, which no encoding can write.
_HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

# A comma is taken between thousands alone: in half of the world it stands before decimals.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")

# A day as 20240115: as seconds all of them lie in one week of August 1970.
_DAY = re.compile(r"(?:19[7-9]\d|20\d\d)(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\.0)?")

_TIME = "a time such as 2024-01-15, 2024-01-15T10:30:00Z or seconds since 1970"

_FINER = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}


class FieldError(ValueError):
    """A field of a row is missing or wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


def clean_text(text: str) -> str:
    """Remove terminal escapes, control and hidden characters; fold white space."""
    if not text.isprintable():
        text = _HIDDEN.sub("", _ESCAPES.sub("", text))
    return " ".join(text.split())


def identifier(row: Mapping[str, Any], field: str) -> str:
    """An id: text, or a whole number as its digits.

    Raises:
        FieldError: It is missing, of another type, too long, or has control characters.
    """
    value = row.get(field)
    if isinstance(value, float) and value.is_integer():
        if abs(value) > _EXACT:
            raise FieldError(field, f"{value!r} has lost digits of an id: write ids as text")
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**MAX_ID:
            raise _wrong(field, "an id", value)
        return str(value)
    if not isinstance(value, str):
        raise _wrong(field, "an id", value)
    value = value.strip()
    if not value:
        raise FieldError(field, "missing")
    if len(value) > MAX_ID:
        raise FieldError(field, f"{len(value):,} characters, at most {MAX_ID} are taken")
    if not value.isprintable():
        raise FieldError(field, f"has control characters: {shown(value)}")
    return value


def text(row: Mapping[str, Any], field: str) -> str:
    """Clean text, empty where it is missing.

    Raises:
        FieldError: It is of another type.
    """
    value = row.get(field)
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        raise _wrong(field, "text", value)
    return clean_text(value)


def words(row: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """A list of texts: a list, a list of paths, text that writes one, or text with `|` between.

    All of them, each once; written as JSON or as Python writes a list.

    Raises:
        FieldError: It is none of these.
    """
    value = row.get(field)
    if is_missing(value):
        return ()
    listed = _split(value) if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)):
        raise _wrong(field, "a list, or text with | between", value)
    found = []
    for part in listed:
        path = part if isinstance(part, (list, tuple)) else [part]
        if not all(isinstance(step, str) or step is None for step in path):
            raise _wrong(field, "a list of text", value)
        found.append(" > ".join(filter(None, (clean_text(step or "") for step in path))))
    return tuple(dict.fromkeys(filter(None, found)))


def number(row: Mapping[str, Any], field: str) -> float | None:
    """A finite number, None where it is missing; `"$1,299.00"` is one, `"19,99"` is not.

    Raises:
        FieldError: It is not.
    """
    value = row.get(field)
    if isinstance(value, str):
        value = value.strip().lstrip("$€£¥").strip()
        if "," in value:
            if not _THOUSANDS.fullmatch(value):
                raise FieldError(field, f"{shown(value)} is no number: write decimals with a '.'")
            value = value.replace(",", "")
    if value == "" or is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise _wrong(field, "a number", value)
    try:
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise _wrong(field, "a number", value) from error
    if not math.isfinite(found):
        raise _wrong(field, "a finite number", value)
    return found


def not_negative(row: Mapping[str, Any], field: str) -> float | None:
    """A number of at least 0, None where it is missing.

    Raises:
        FieldError: It is not.
    """
    found = number(row, field)
    if found is not None and found < 0:
        raise _wrong(field, "a number from 0 up", row.get(field))
    return found


def whole(row: Mapping[str, Any], field: str) -> int | None:
    """A whole number from 0 up, None where it is missing.

    Raises:
        FieldError: It is not.
    """
    found = number(row, field)
    if found is None:
        return None
    # No position or second is beyond.
    if not 0 <= found <= _EXACT or not found.is_integer():
        raise _wrong(field, "a whole number from 0 up", row.get(field))
    return int(found)


def seconds(row: Mapping[str, Any], field: str, *, now: float) -> int | None:
    """Seconds since 1970 from a number, an ISO 8601 text or a date; None where it is missing.

    Args:
        row: The row.
        field: The name of the field.
        now: Seconds since 1970; no time may lie behind it.

    Raises:
        FieldError: It is none of these, or lies before 1970 or in the future.
    """
    value = row.get(field)
    if _DAY.fullmatch(str(value).strip()):
        raise FieldError(field, f"a day? {shown(value)}: write 2024-01-15, or seconds since 1970")
    if isinstance(value, str) and "-" in value[1:]:
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise _wrong(field, _TIME, value) from error
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=UTC)
        value = (zoned - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    try:
        found = number({field: value}, field)
    except FieldError as error:
        raise _wrong(field, _TIME, value) from error
    if found is None:
        return None
    if found < 0:
        raise FieldError(field, f"before 1970: {shown(row.get(field))}")
    if found > now:
        units = (name for name, parts in _FINER.items() if now / 10 < found / parts <= now)
        hint = "".join(f" ({unit}? seconds are expected)" for unit in units)
        raise FieldError(field, f"in the future: {shown(row.get(field))}{hint}")
    return int(found)


def is_missing(value: object) -> bool:
    """Whether a file says nothing there: null, or NaN as data frames have it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def shown(value: object) -> str:
    """A value as a reject file shows it: escaped, and cut when long."""
    # A huge number cannot be written in digits.
    plain = hex(value) if isinstance(value, int) and value.bit_length() > 1_000 else ascii(value)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


def _wrong(field: str, wanted: str, value: object) -> FieldError:
    if value is None:
        return FieldError(field, "missing")
    return FieldError(field, f"expected {wanted}, got {type(value).__name__} {shown(value)}")


def _split(value: str) -> object:
    listed = value.strip()
    if not listed.startswith("["):
        return value.split("|")
    try:
        return json.loads(listed)
    except (ValueError, RecursionError):
        pass
    if not listed.lstrip("[").startswith(("'", '"')):
        return [value]
    try:
        found = ast.literal_eval(listed)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    # Without commas, as arrays are written, Python would make one text of all.
    return found if repr(found) == listed else None
