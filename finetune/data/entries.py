"""The records of a data folder with the place where each stands, and what it was made from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mllm_srec.finetune.data.records import AnyRecord, parse_record
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.store.validation import problems

FILES = ("train", "validation")
"""Names of the two files of a data folder, without their ending."""
ABOUT = "data.json"
"""What made the records, their number and their hashes."""
ORIGINS = "origins.json"
"""For each file the origin of every line: `item:ID`, `user:ID` or
`messages:NUMBER`."""

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Entry:
    """One record and where it stands."""

    file: str
    line: int
    """From 1."""
    record: AnyRecord
    origin: str | None
    """What the record was made from, where the folder says so."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and what to do about it."""

    file: str
    line: int | None
    """None for what is wrong with the whole file."""
    place: str
    """Where in the record: the path of a field; of a whole file, what asks for it."""
    value: str
    problem: str
    way_out: str

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}, "
        return f"{self.file}, {line}{self.place}: {self.value}: {self.problem}: {self.way_out}"


def shown(value: object) -> str:
    """A value as a fault shows it: its beginning."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def read_entries(data: Path) -> tuple[dict[str, list[Entry]], list[Fault]]:
    """Read both files of a data folder; lines that are no records become faults.

    Raises:
        FinetuneError: A file is missing, the file of origins does not fit, or the records have the
            form of other trainers.
    """
    _require_our_form(data)
    origins = _origins(data)
    entries: dict[str, list[Entry]] = {}
    faults: list[Fault] = []
    for name in FILES:
        path = data / f"{name}.jsonl"
        if not path.is_file():
            raise FinetuneError(f"no {path.name!r} in {str(data)!r}: run `srec finetune data`")
        entries[name] = []
        known, number = origins.get(name, ()), 0
        for number, line in _lines(path):
            try:
                record = parse_record(line)
            except ValidationError as error:
                faults.extend(_faults(path.name, number, error))
                continue
            origin = known[number - 1] if number <= len(known) else None
            entries[name].append(Entry(path.name, number, record, origin))
        # A line that was taken out would give every later one another's origin.
        if origins and number != len(known):
            raise FinetuneError(
                f"{ORIGINS} knows {len(known)} lines of {path.name}, which has {number}: run "
                f"`srec finetune data` again, or delete {ORIGINS} when the records are your own"
            )
    return entries, faults


def read_about(data: Path) -> Mapping[str, Any]:
    """What a data folder says of its records; empty where it says nothing.

    Raises:
        FinetuneError: The file is broken.
    """
    path = data / ABOUT
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_bytes())
    except ValueError as error:
        raise FinetuneError(f"{str(path)!r} is broken: run `srec finetune data` again") from error
    return about if isinstance(about, dict) else {}


def _require_our_form(data: Path) -> None:
    match read_about(data):
        case {"form": form}:
            raise FinetuneError(
                f"{str(data)!r} holds records in the form {form!r}, for other trainers: run "
                "`srec finetune data` without `--form` into another folder"
            )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from enumerate(file, 1)
    except UnicodeDecodeError as error:
        raise FinetuneError(f"{str(path)!r} is not UTF-8 ({error}): write it again") from error


def write_origins(data: Path, origins: Mapping[str, Sequence[str]]) -> None:
    """Write what every line of the two files was made from."""
    (data / ORIGINS).write_text(json.dumps(origins, indent=0) + "\n", "utf-8")


def _origins(data: Path) -> Mapping[str, Sequence[str]]:
    path = data / ORIGINS
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        return {name: [str(origin) for origin in found[name]] for name in FILES}
    except (ValueError, KeyError, TypeError) as error:
        raise FinetuneError(f"{str(path)!r} is broken: run `srec finetune data` again") from error


def _faults(file: str, line: int, error: ValidationError) -> Iterator[Fault]:
    way_out = "mend the line, or write the data again with `srec finetune data`"
    for place, what, value in problems(error):
        yield Fault(file, line, place or "record", shown(value), what, way_out)
