"""The folders of embedded Chroma: a rebuilt index is a new generation, in a folder of its own."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Generations:
    """Folders `g1`, `g2`, ... of one index; with a Chroma server there are none."""

    _parent: Path

    def folder(self, generation: int) -> Path:
        """Where a generation lies."""
        return self._parent / f"g{generation}"

    def next(self, current: int) -> int:
        """The number of a new generation: above the current one, and above any that broke off."""
        numbers = [int(path.name[1:]) for path in self._parent.glob("g[0-9]*") if path.is_dir()]
        return max([*numbers, current]) + 1

    def remove(self, generation: int) -> None:
        """Delete a generation that did not become whole."""
        shutil.rmtree(self.folder(generation), ignore_errors=True)

    def remove_others(self, kept: int) -> None:
        """Delete all generations but one."""
        for path in self._parent.glob("g[0-9]*"):
            if path != self.folder(kept):
                shutil.rmtree(path, ignore_errors=True)

    def size(self) -> int:
        """Bytes on disk, those of the manifest too."""
        return sum(path.stat().st_size for path in self._parent.rglob("*") if path.is_file())
