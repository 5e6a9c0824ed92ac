"""The folder that a person names for what a command writes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.store.files import disk_errors


def make_output_folder(out: Path) -> None:
    """Make a folder, and those around it; one that is there stays as it is.

    Raises:
        FinetuneError: It cannot be made: a file stands in its way, or nobody may write there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FinetuneError(
            f"the folder {str(out)!r} cannot be made ({error.strerror}): give --out a folder in "
            "which you may write"
        ) from error


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Make a folder, and be the one process that works in it.

    Raises:
        FinetuneError: Another one does, or nobody may write there.
    """
    make_output_folder(out)
    lock = FileLock(out / "lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise FinetuneError(
            f"another process works in {str(out)!r}: wait for it, or give another folder"
        ) from error
    except OSError as error:
        raise FinetuneError(
            f"{str(out)!r} cannot be written to ({error.strerror}): give --out a folder in which "
            "you may write"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def all_at_once(out: Path, *, last: str) -> Iterator[Path]:
    """Give a folder for new files, which move to `out` when all of them are written.

    Args:
        out: Files of other names stay there.
        last: Name of the file that moves last: where it is, the others are.

    Raises:
        StoreError: The disk is full; what `out` held before is whole.
    """
    partial = out / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with disk_errors(out):
            partial.mkdir()
            yield partial
            for path in sorted(partial.iterdir(), key=lambda path: path.name == last):
                path.replace(out / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
