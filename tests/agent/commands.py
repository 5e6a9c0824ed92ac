"""The command as a shell would start it, and the files of a small shop for it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllm_srec.store.home import Home

Line = dict[str, Any] | str
ITEMS: list[Line] = [{"item_id": f"i{n}", "title": f"Ball {n}"} for n in range(4)]
LOG: list[Line] = [{"user_id": f"u{n}", "item_id": f"i{n}", "timestamp": n} for n in range(4)]
GOOD = ({f"i{n}": f"Ball {n}" for n in range(4)}, {f"u{n}": [f"i{n}"] for n in range(4)})
"""What is stored of them."""
PROGRAM = "from mllm_srec.agent.cli import main; main()"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """What `--json` wrote: one line and nothing else."""
        [line] = self.out.splitlines()
        return dict(json.loads(line))

    @property
    def rejects(self) -> list[dict[str, Any]]:
        """The rows of the reject file that the report names."""
        lines = Path(self.report["reject_file"]).read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]


Srec = Callable[..., Done]
"""Runs a command: arguments in, `Done` out."""


@dataclass(frozen=True)
class Shop:
    """The files of a good shop, to which a test adds what is bad."""

    folder: Path

    def write(self, items: Sequence[Line] = (), log: Sequence[Line] = ()) -> None:
        """Write both files; a text stands as it is."""
        for name, lines in {"items": [*ITEMS, *items], "log": [*LOG, *log]}.items():
            texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
            (self.folder / f"{name}.jsonl").write_text("".join(text + "\n" for text in texts))

    def ingest(self, home: Path) -> list[str | Path]:
        """The arguments of the command; the model is not asked."""
        return [
            "ingest", "--items", self.folder / "items.jsonl",
            "--interactions", self.folder / "log.jsonl", "--home", home, "--no-fuse",
        ]  # fmt: skip


def stored(home: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Titles and histories of a home."""
    with Home.open(home) as opened:
        catalogue = opened.catalogue
        titles = {item_id: item.title for item_id, item in catalogue.items().items()}
        logs = {user: catalogue.history(user) for user in catalogue.user_ids()}
    return titles, {user: [each.item_id for each in log] for user, log in logs.items()}


def start(arguments: Sequence[str | Path], program: str = PROGRAM) -> "subprocess.Popen[str]":
    """Start the command in a process of its own, that a signal or a limit may end."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
