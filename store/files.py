"""Files of a home: readable by their owner alone, written whole or not at all."""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mllm_srec.store.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def private_folder(path: Path) -> Path:
    """Make the folder, if need be, and close it to everybody but its owner.

    Raises:
        StoreError: A file is in its place, or the disk is full.
    """
    try:
        with disk_errors(path):
            path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(
            f"{str(path)!r} is a file, and a folder of the home belongs there: move the file away"
        ) from error
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_private(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone.

    A file that stood there is replaced, also one that a link leads to. Written beside it first,
    under a name ending in `.partial`. A device or a pipe is written to.

    Raises:
        StoreError: The disk is full.
    """
    if path.exists() and not path.is_file():
        # A file in the place of `/dev/null` would be in the way of every program of the machine.
        with disk_errors(path):
            path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    # Of this process and thread: others may be writing the same file.
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    with disk_errors(path):
        try:
            with open(partial, "wb", opener=owner_only) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say in one line that the disk is full; let other errors pass.

    Raises:
        StoreError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StoreError(disk_full(path)) from error


def disk_full(path: Path | str) -> str:
    """What to tell a person whose disk is full."""
    return (
        f"the disk is full: {str(path)!r} could not be written. Free space and run the same "
        "command again; what was kept before is whole"
    )


def make_private(path: Path) -> None:
    """Make the file, readable by its owner alone, unless it is there.

    One that is there is not opened: closing an SQLite file takes away the locks that connections of
    this process hold on it (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    path.touch(mode=0o600)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the one process, and the one thread, that changes files in a folder, for moments only.

    The lock is the folder's own, so that no file is left, and none of SQLite's is touched.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def owner_only(path: str, flags: int) -> int:
    """Opener for `open`: the new file is readable by its owner alone."""
    return os.open(path, flags, 0o600)
