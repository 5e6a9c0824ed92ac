"""SQLite files: the space they take on disk, giving back what they do not need, and damage."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mllm_srec.store.errors import StoreError

BUSY_S = 30.0
"""Seconds to wait for another process that writes."""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damaged(error: BaseException | None) -> bool:
    """Whether a file is said to be malformed, or no database."""
    # What Python's own module refuses has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, sqlite3.Error) and code & 255 in _DAMAGED


def disk_bytes(path: Path) -> int:
    """Bytes of an SQLite file, its log and the index of the log."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def vacuum(connection: sqlite3.Connection) -> None:
    """Give the free pages of a file back to the disk, and empty its log.

    Args:
        connection: To the file, outside a transaction.

    Raises:
        sqlite3.Error: Another process is writing.
    """
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def vacuum_file(path: Path) -> None:
    """`vacuum` for a file that is not open here.

    Raises:
        StoreError: Another process is writing.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
            vacuum(connection)
    except sqlite3.Error as error:
        raise StoreError(
            f"{str(path)!r} could not be made smaller ({error}): close what uses it, and try again"
        ) from error
