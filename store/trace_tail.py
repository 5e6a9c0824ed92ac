"""The end of SQLite's write-ahead log: whether what was written last was cut off.

SQLite leaves out, without a word, what a power cut or a full disk left of a write at the log's end.
Formats: https://www.sqlite.org/walformat.html
"""

import sqlite3
import struct
from pathlib import Path

_LOG_HEADER = 32
_FRAME_HEADER = 24
_INDEX_HEADER = struct.Struct("=14xH I 12x 8s")
"""Of the log's index: bytes of a page (1 for 65,536), frames that count, salts of this log."""


def is_torn(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the log ends in a piece of a write, which SQLite leaves out.

    Args:
        connection: To the file, outside a transaction.
        path: Of the file.
    """
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    [(patience,)] = connection.execute("PRAGMA busy_timeout").fetchall()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        # Nobody writes meanwhile, and SQLite has read the log.
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False  # Somebody writes: the end of the log is theirs.
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    try:
        with index.open("rb") as file:
            size, frames, salts = _INDEX_HEADER.unpack(file.read(_INDEX_HEADER.size))
        page = 65_536 if size == 1 else size
        with log.open("rb") as file:
            file.seek(_LOG_HEADER + frames * (_FRAME_HEADER + page))
            rest = file.read(_FRAME_HEADER)
    except (OSError, struct.error):
        return False  # No log: all that was written stands in the file.
    finally:
        connection.execute("ROLLBACK")
    # What has other salts was left by an older log in the same file.
    return bool(rest) and salts.startswith(rest[8:16])
