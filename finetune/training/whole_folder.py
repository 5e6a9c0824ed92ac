"""Folders that are written whole or not at all: checkpoints, models, exports."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from mllm_srec.finetune.errors import FinetuneError

PARTIAL = "partial"
"""Folder, beside what is written, of what is not yet whole."""

_OLD = ".old"


class WriteError(FinetuneError):
    """A folder could not be written, for want of space or leave; what stood there still stands."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into, which takes the place of `folder` at the end.

    Written aside, as `partial/NAME`, and moved: a process killed at any moment leaves the former
    folder, or the new one, never half of one.

    Raises:
        WriteError: The disk is full, or nobody may write there.
    """
    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        replace_folder(partial, folder)
    # torch says RuntimeError when a file cannot be written, safetensors has an error of its own.
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WriteError(
            f"{str(folder)!r} could not be written ({reason}): free space on the disk, or give a "
            "folder in which you may write, and run the same command again; what was kept before "
            "is whole"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if partial.parent.exists() and not any(partial.parent.iterdir()):
            partial.parent.rmdir()


def partial_folder(folder: Path) -> Path:
    """Where a folder is written before it is whole."""
    return folder.parent / PARTIAL / folder.name


def replace_folder(new: Path, folder: Path) -> None:
    """Move a folder to a place where another may stand; that one goes when the new one is there."""
    old = folder.with_name(folder.name + _OLD)
    recover_folder(folder)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Put back what a process killed in the middle of `replace_folder` had moved aside."""
    old = folder.with_name(folder.name + _OLD)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
