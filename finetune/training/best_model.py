"""The model that was best by a named validation figure, kept beside the last one."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mllm_srec.store.files import write_private

BEST_FILE = "best.json"
"""Beside the best model: which figure chose it, how good it is, after which step."""


class BestModel:
    """Keeps the best model so far; also over a run that was killed and goes on."""

    def __init__(self, figure: str, folder: Path, write: Callable[[Any, Path], None]) -> None:
        """Take up what an earlier process kept, if the same figure chose it.

        Args:
            figure: Name of a validation figure; a loss is better when low, others when high.
            folder: Where the best model goes; `BEST_FILE` is written beside it.
            write: Writes a model to a folder, whole or not at all.
        """
        self._figure = figure
        self.folder = folder
        self._file = folder.parent / BEST_FILE
        self._write = write
        self._value: float | None = None
        if self._file.exists() and folder.exists():
            kept = json.loads(self._file.read_text("utf-8"))
            if kept["figure"] == figure:
                self._value = float(kept["value"])

    def offer(self, figures: Mapping[str, float], step: int, model: Any) -> None:
        """Keep the model if it is better than what is kept."""
        value = figures[self._figure]
        if self._value is not None and not self._better(value, self._value):
            return
        self._write(model, self.folder)
        self._value = value
        about = {"figure": self._figure, "value": value, "step": step}
        write_private(self._file, (json.dumps(about) + "\n").encode())

    def _better(self, one: float, other: float) -> bool:
        return one < other if self._figure.endswith("_loss") else one > other
