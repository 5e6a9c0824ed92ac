"""`home.json`, the mark that makes a folder a home: its format, and its id where one is needed."""

import json
from pathlib import Path
from typing import Any

from mllm_srec.store.errors import HomeError
from mllm_srec.store.files import alone_in, write_private
from mllm_srec.store.home_settings import NAME as SETTINGS

FORMAT = 1
"""Version of the layout of a home; a newer one is refused."""

_KIND = "mllm-srec home"
_MARK = "home.json"


def home_folder(path: Path | str) -> Path:
    """The folder that a person calls a home, in full; it may be missing.

    Raises:
        HomeError: It cannot be found: `~` names no user, or links lead round in a circle.
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise HomeError(
            f"the home {str(path)!r} cannot be found ({str(error).rstrip('.')}): give --home a "
            "folder in which you may write"
        ) from error


def is_home(folder: Path) -> bool:
    """Whether the folder bears the mark, fit or not."""
    return (folder / _MARK).is_file()


def make_home(folder: Path) -> None:
    """Make a folder a home; it must be missing or empty, but for its settings.

    Raises:
        HomeError: It is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise HomeError(f"{str(folder)!r} is a file: give --home a folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A process killed right here leaves a partial mark; that folder is still ours.
    names = {path.name for path in folder.iterdir()} - {SETTINGS}
    foreign = [name for name in names if not name.startswith(f"{_MARK}.")]
    if foreign and not is_home(folder):
        raise HomeError(
            f"{str(folder)!r} is not empty and not a home (it holds {min(foreign)!r}): "
            "give --home a new or an empty folder"
        )
    # Another process may make it a home at this moment, and have given it its id.
    with alone_in(folder):
        if not is_home(folder):
            _write(folder, {"kind": _KIND, "format": FORMAT})


def check_format(folder: Path) -> None:
    """Refuse a mark that is not ours, or one of a newer version.

    Raises:
        HomeError: The message names the folder.
    """
    mark = _read(folder)
    if mark["kind"] != _KIND:
        raise HomeError(
            f"{str(folder)!r} belongs to something else ({mark['kind']!r}): give another --home"
        )
    if mark["format"] > FORMAT:
        raise HomeError(
            f"the home {str(folder)!r} has format {mark['format']}, this version knows up to "
            f"{FORMAT}: upgrade mllm-srec"
        )


def home_id(folder: Path) -> str | None:
    """The id of a home, None where it needed none yet.

    Raises:
        HomeError: The mark is broken.
    """
    known = _read(folder).get("id")
    return None if known is None else str(known)


def give_id(folder: Path, home_id: str) -> None:
    """Write the id of a home into its mark."""
    _write(folder, {**_read(folder), "id": home_id})


def _read(folder: Path) -> dict[str, Any]:
    try:
        mark = json.loads((folder / _MARK).read_bytes())
        return {**mark, "kind": mark["kind"], "format": int(mark["format"])}
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(f"{str(folder / _MARK)!r} is not the mark of a home of ours") from error


def _write(folder: Path, mark: dict[str, Any]) -> None:
    write_private(folder / _MARK, json.dumps(mark).encode())
