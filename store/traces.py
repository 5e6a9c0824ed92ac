"""Traces on disk: OpenTelemetry spans in one SQLite file, long values stored once by content."""

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from mllm_srec.store.errors import StoreError
from mllm_srec.store.spans import COLUMNS, Row, Span, pack, unpack

SCHEMA = 1
"""Version of the tables, in `PRAGMA user_version`."""
APPLICATION_ID = 0x53524543
"""`SREC` in `PRAGMA application_id`: tells our file from any other SQLite file."""
BUSY_S = 10.0
"""Seconds that a writer waits for another process."""
KNOWN_BLOBS = 10_000
"""Content hashes remembered, so that a repeated picture costs no query."""

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE blobs (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL);
CREATE TABLE spans (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL, span_id BLOB NOT NULL UNIQUE, parent_id BLOB,
    name TEXT NOT NULL, kind TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER,
    status TEXT NOT NULL, message TEXT NOT NULL, attributes TEXT NOT NULL,
    shared INTEGER REFERENCES blobs (id), events TEXT NOT NULL
);
CREATE INDEX spans_of_trace ON spans (trace_id);
CREATE INDEX roots ON spans (start_ns) WHERE parent_id IS NULL;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""
_NAMES = ", ".join(COLUMNS)
_SELECT = f"SELECT {_NAMES} FROM spans"
# An update keeps the row's number, so that spans of one start stay in the order of their writing.
_PUT = (
    f"INSERT INTO spans ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))}) "
    f"ON CONFLICT (span_id) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in COLUMNS)}"
)


class TraceError(StoreError):
    """The trace file cannot be used; the message names the way out."""


class TraceStore:
    """The traces of one home. Threads may share it; several processes may open the same file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._known: dict[bytes, int] = {}

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open a trace file, readable by its owner alone.

        Args:
            path: The SQLite file.
            create: Make it when it is missing.

        Raises:
            TraceError: It is missing, not ours, or of another version.
        """
        try:
            if not path.exists():
                if not create:
                    raise TraceError(f"no traces at {str(path)!r}: run a recommendation first")
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            _prepare(connection, path)
        except (OSError, sqlite3.Error) as error:
            raise TraceError(_refusal(path, error)) from error
        return cls(connection, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def put_spans(self, spans: Iterable[Span]) -> None:
        """Write spans in one transaction; a span that is there already is replaced.

        Raises:
            TraceError: The file cannot be written.
        """
        if batch := list(spans):
            with self._writing():
                self._connection.executemany(_PUT, pack(batch, self._number))

    def put_blob(self, content: bytes) -> str:
        """Keep bytes once; returns their SHA-256 as hexadecimal digits.

        Raises:
            TraceError: The file cannot be written.
        """
        digest = hashlib.sha256(content)
        if digest.digest() not in self._known:
            with self._writing():
                self._number(content)
        return digest.hexdigest()

    def blob(self, sha256: str) -> bytes | None:
        """The bytes of a hash, None when they are not kept."""
        return self._bytes("sha256", bytes.fromhex(sha256))

    def recent(self, limit: int = 20) -> list[Span]:
        """Root spans, newest first, those of unfinished runs included."""
        query = f"{_SELECT} WHERE parent_id IS NULL ORDER BY start_ns DESC, id DESC LIMIT ?"
        return self._spans(query, limit)

    def spans(self, trace_id: str) -> list[Span]:
        """All spans of a trace by start; any beginning of the id does that fits one trace only.

        Raises:
            TraceError: No trace, or more than one, has that id.
        """
        query = f"{_SELECT} WHERE trace_id = ? ORDER BY start_ns, id"
        return self._spans(query, self._trace(trace_id))

    def _trace(self, start: str) -> bytes:
        """The one trace whose id starts with `start`."""
        query = "SELECT DISTINCT trace_id FROM spans WHERE trace_id BETWEEN ? AND ? LIMIT 2"
        found = []
        if start and len(start) <= 32 and set(start) <= set("0123456789abcdef"):
            span = (bytes.fromhex(start.ljust(32, "0")), bytes.fromhex(start.ljust(32, "f")))
            found = self._rows(query, *span)
        if len(found) == 1:
            return bytes(found[0][0])
        reason = "more than one trace starts with" if found else "there is no trace"
        raise TraceError(f"{reason} {start!r}: `srec trace list` shows the ids")

    def _spans(self, query: str, *values: object) -> list[Span]:
        seen: dict[int, bytes | None] = {}

        def get(number: int) -> bytes | None:
            if number not in seen:
                seen[number] = self._bytes("id", number)
            return seen[number]

        return [unpack(row, get) for row in self._rows(query, *values)]

    def _bytes(self, column: str, value: object) -> bytes | None:
        rows = self._rows(f"SELECT bytes FROM blobs WHERE {column} = ?", value)
        return bytes(rows[0][0]) if rows else None

    def _rows(self, query: str, *values: Any) -> list[Row]:
        with self._lock, _told(self.path):
            return self._connection.execute(query, values).fetchall()

    def _number(self, content: bytes) -> int:
        """Keep bytes inside a transaction; returns their number."""
        key = hashlib.sha256(content).digest()
        if key not in self._known:
            self._connection.execute(
                "INSERT OR IGNORE INTO blobs (sha256, bytes) VALUES (?, ?)", (key, content)
            )
            [(number,)] = self._rows("SELECT id FROM blobs WHERE sha256 = ?", key)
            if len(self._known) >= KNOWN_BLOBS:
                self._known.clear()
            self._known[key] = number
        return self._known[key]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, all or nothing."""
        with self._lock, _told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._known.clear()  # numbers of what is rolled back now mean nothing
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line what the file refused."""
    try:
        yield
    except sqlite3.Error as error:
        raise TraceError(_refusal(path, error)) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or check whose they are; what is not ours stays as it is."""
    connection.execute("PRAGMA synchronous = NORMAL")
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    [(owner,)] = connection.execute("PRAGMA application_id").fetchall()
    [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if (version, owner, tables) == (0, 0, 0):
        _create(connection)
    elif owner != APPLICATION_ID:
        raise TraceError(f"{str(path)!r} is not a trace file of ours: choose another home")
    elif version != SCHEMA:
        raise TraceError(
            f"{str(path)!r} is version {version} of the trace file, this program reads {SCHEMA}: "
            "use the version of mllm-srec that wrote it, or move the file away"
        )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    try:
        connection.executescript(_TABLES)
    except sqlite3.OperationalError as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        # Another process was faster with the same tables.
        if "already exists" not in str(error):
            raise


def _refusal(path: Path, error: Exception) -> str:
    return f"cannot use the traces at {str(path)!r} ({error}): free the disk or move the file away"
