"""What is made whole or not at all: of a file or folder that is there, nothing is missing."""

from collections.abc import Callable
from pathlib import Path


def make_whole(path: Path, make: Callable[[Path], object]) -> None:
    """Have a file or folder made beside its place, and put it there once it is done.

    What an interrupted call left is beside it still: where it is a home, the next one goes on from
    there.

    Args:
        path: Its place.
        make: Makes it at the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.partial")
    make(unfinished)
    unfinished.replace(path)
