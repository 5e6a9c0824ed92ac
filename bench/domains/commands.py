"""`srec` as a person types it, and results that are not made twice."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import made_on
from bench.startup import SREC
from bench.whole import make_whole


@dataclass(frozen=True, slots=True)
class Ran:
    """One finished command."""

    seconds: float
    answer: dict[str, Any]
    """What it wrote with `--json`."""


def srec(*words: str | Path) -> Ran:
    """Run a command; what it says beside its result goes to standard error.

    Raises:
        CalledProcessError: It ended with another code than 0.
    """
    command = [str(SREC), *map(str, words), "--json"]
    note(f"$ srec {' '.join(command[1:])}")
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Ran(time.perf_counter() - started, json.loads(done.stdout))


def kept(
    path: Path, asked: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """What `make` gave when the same was asked before, else what it gives now.

    Args:
        path: JSON file of the question, the answer, and what it was made on.
        asked: All that the answer depends on, as plain values.
        make: Finds the answer, plain values too.
    """
    # Through JSON, as the file goes: tuples are lists there.
    question = json.loads(json.dumps(asked))
    if path.exists():
        held = json.loads(path.read_text("utf-8"))
        if held["asked"] == question:
            note(f"kept from before: {path}")
            found: dict[str, Any] = held["found"]
            return found
    made = {"asked": question, "made": made_on(), "found": make()}
    text = json.dumps(made, indent=1) + "\n"
    make_whole(path, lambda file: file.write_text(text, "utf-8"))
    return dict(made["found"])


def note(line: str) -> None:
    """Say a line beside the result."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
