"""The end of SQLite's write-ahead log: whether what was written last was cut off.

SQLite leaves out, without a word, what a power cut or a full disk left of a write at the log's end.
Formats: https://www.sqlite.org/walformat.html
"""

import sqlite3
import struct
from pathlib import Path

_LOG_HEADER = struct.Struct("> 8x I 4x 8s 8x")
"""Of the log: bytes of a page, salts of this log."""
_FRAME_HEADER = struct.Struct("> 8x 8s 8x")
"""Of one page in the log: salts of the log that it was written to."""


def is_torn(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the log ends in a piece of a write, which SQLite leaves out.

    Nothing but the log is read: closing the file, or the index of its log, takes away the locks
    that connections of this process hold there (https://www.sqlite.org/howtocorrupt.html, 2.2).

    Args:
        connection: To the file, outside a transaction.
        path: Of the file.
    """
    [(patience,)] = connection.execute("PRAGMA busy_timeout").fetchall()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        version = _version(connection)
        # Waits for nobody, and tells how many pages of the log count.
        [(_, pages, _)] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False  # Somebody writes: the end of the log is theirs.
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    try:
        written = _version(connection) != version
        return pages >= 0 and not written and _goes_on(path, pages)
    finally:
        connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    """Another one as soon as another connection has written."""
    [(version,)] = connection.execute("PRAGMA data_version").fetchall()
    return int(version)


def _goes_on(path: Path, pages: int) -> bool:
    """Whether the log holds more of its own than so many pages."""
    try:
        with path.with_name(f"{path.name}-wal").open("rb") as file:
            page, salts = _LOG_HEADER.unpack(file.read(_LOG_HEADER.size))
            file.seek(pages * (_FRAME_HEADER.size + page), 1)
            [found] = _FRAME_HEADER.unpack(file.read(_FRAME_HEADER.size))
    except (OSError, struct.error):
        return False
    # What has other salts was left by an older log in the same file.
    return bool(found == salts)
