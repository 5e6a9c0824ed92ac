import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllm_srec.store.home import Home
from mllm_srec.store.representations import RepresentationIndex
from tests.store.vectors import FACTS

NOW = 1_800_000_000.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home", create=True) as opened:
        yield opened


@pytest.fixture
def index(tmp_path: Path) -> Iterator[RepresentationIndex]:
    (tmp_path / "vectors").mkdir()
    with closing(RepresentationIndex(tmp_path / "vectors")) as opened:
        opened.use(FACTS)
        yield opened


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as JSON lines; a text or bytes stand as they are."""

    def write(name: str, *rows: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, (str, bytes)) else json.dumps(row) for row in rows]
        path.write_bytes(
            b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines)
        )
        return path

    return write


def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start a Python program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def run_at_once(program: str, *calls: list[str]) -> None:
    """Run a program in several processes, let loose together once all are ready."""
    running = [start(program, *arguments) for arguments in calls]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")


def picture(
    colour: str = "red", size: tuple[int, int] = (40, 30), kind: str = "JPEG", **options: Any
) -> bytes:
    made = BytesIO()
    Image.new("RGB", size, colour).save(made, kind, **options)
    return made.getvalue()
