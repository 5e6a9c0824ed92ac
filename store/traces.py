"""Traces on disk: OpenTelemetry spans in one SQLite file, long values stored once by content."""

import hashlib
import re
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from mllm_srec.store.closing import Closing
from mllm_srec.store.files import alone_in, make_private
from mllm_srec.store.spans import COLUMNS, Row, Span, pack, unpack
from mllm_srec.store.sqlite_files import is_damaged, vacuum
from mllm_srec.store.trace_schema import SCHEMA, TraceError, prepare
from mllm_srec.store.trace_tail import is_torn
from mllm_srec.store.trace_words import GrowingWords, words_of

__all__ = ["SCHEMA", "TraceError", "TraceStore"]

BUSY_S = 10.0
"""Seconds that a writer waits for another process."""
KNOWN_BLOBS = 10_000
"""Content hashes remembered, so that a repeated picture costs no query."""

NAMES = ", ".join(COLUMNS)
_SELECT = f"SELECT {NAMES} FROM spans"
# An update keeps the row's number, so that spans of one start stay in the order of their writing.
_PUT = (
    f"INSERT INTO spans ({NAMES}) VALUES ({', '.join('?' * len(COLUMNS))}) "
    f"ON CONFLICT (span_id) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in COLUMNS)}"
)
_PNG = b"\x89PNG\r\n"
_ADDRESS = re.compile(r"sha256:([0-9a-f]{64})")


class TraceStore(Closing):
    """The traces of one home. Threads may share it; several processes may open the same file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._known: dict[bytes, int] = {}
        self._words = GrowingWords()
        self._begun: dict[str, bytes] = {}
        """Ids of the roots that were written here and have not ended, by trace."""
        self._version = 0
        self._waits = True
        """Whether a write waits for another process, see `_begin`."""
        self.is_torn = False
        """Whether the last write was cut off, so that it is left out."""

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open a trace file, readable by its owner alone.

        Args:
            path: The SQLite file.
            create: Make it when it is missing.

        Raises:
            TraceError: It is missing, not ours, or of a newer version.
        """
        try:
            if not path.exists():
                if not create:
                    raise TraceError(f"no traces at {str(path)!r}: run a recommendation first")
                make_private(path)
            connection = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            store = cls(connection, path)
            try:
                # What another process makes at the same moment is no file of ours half-way.
                with alone_in(path.parent):
                    # First: what is written from here on takes the place of what was cut off.
                    store.is_torn = is_torn(connection, path)
                    prepare(connection, path, store._fill)
            except BaseException:
                store.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise TraceError(_refusal(path, error)) from error
        return store

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def put_spans(self, spans: Iterable[Span], blobs: Iterable[bytes] = ()) -> None:
        """Write spans in one transaction; a span that is there already is replaced.

        A run can be found by its words once its root has ended. One that was deleted while it was
        under way stays deleted.

        Args:
            spans: Of any traces.
            blobs: Bytes that they name by `sha256:...`, each kept once. What no span names goes at
                the next `compact`.

        Raises:
            TraceError: The file cannot be written.
        """
        batch = list(spans)
        if not batch:
            return

        try:
            with self.writing():
                kept = self._undeleted(batch)
                for content in blobs if kept else ():
                    self._number(content)
                # Nothing is shared between traces, nor with a root: its attributes SQL reads.
                for _, group in groupby(sorted(kept, key=_part), key=_part):
                    self._put_together(list(group))
                self._words.add(kept)
                for span in kept:
                    if span.parent_id is None and span.end_ns is not None:
                        self._index(span.trace_id)
        except BaseException:
            self._words.forget(batch)
            raise
        for span in batch:
            if span.parent_id is None and span.end_ns is None:
                self._begun[span.trace_id] = bytes.fromhex(span.span_id)
            elif span.parent_id is None:
                self._begun.pop(span.trace_id, None)

    def rewrite(self, trace_id: bytes, change: Callable[[Span], Span]) -> None:
        """Write the spans of a trace anew, each as changed; what nothing names goes at `compact`.

        Raises:
            TraceError: The file cannot be written.
        """
        with self.writing():
            self._put_anew(trace_id, [change(span) for span in self._spans_of(trace_id)])

    def blob(self, sha256: str) -> bytes | None:
        """The bytes of a hash, None when they are not kept."""
        return self._bytes("sha256", bytes.fromhex(sha256))

    def recent(self, limit: int = 20) -> list[Span]:
        """Root spans, newest first, those of unfinished runs included."""
        return self.select("WHERE parent_id IS NULL ORDER BY start_ns DESC, id DESC LIMIT ?", limit)

    def spans(self, trace_id: str) -> list[Span]:
        """All spans of a trace by start; a beginning of the id is enough if it fits one trace only.

        Raises:
            TraceError: No trace, or more than one, has that id.
        """
        return self._spans_of(self.find_id(trace_id))

    def find_id(self, start: str) -> bytes:
        """The id of the one trace whose id starts with these hexadecimal digits.

        Raises:
            TraceError: No trace, or more than one, has that id.
        """
        query = "SELECT DISTINCT trace_id FROM spans WHERE trace_id BETWEEN ? AND ? LIMIT 2"
        found = []
        if start and len(start) <= 32 and set(start) <= set("0123456789abcdef"):
            span = (bytes.fromhex(start.ljust(32, "0")), bytes.fromhex(start.ljust(32, "f")))
            found = self.rows(query, *span)
        if len(found) == 1:
            return bytes(found[0][0])
        reason = "more than one trace starts with" if found else "there is no trace"
        raise TraceError(f"{reason} {start!r}: `srec trace list` shows the ids")

    def select(self, condition: str, *values: object) -> list[Span]:
        """The spans of an SQL condition on the table `spans`."""
        seen: dict[int, bytes | None] = {}

        def get(number: int) -> bytes | None:
            if number not in seen:
                seen[number] = self._bytes("id", number)
            return seen[number]

        rows = self.rows(f"{_SELECT} {condition}", *values)
        return [span for row in rows for span in unpack(row, get)]

    def rows(self, query: str, *values: Any) -> list[Row]:
        """The rows of a query.

        Raises:
            TraceError: The file refuses it.
        """
        with self._lock, _told(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all or nothing.

        Raises:
            TraceError: The file cannot be written.
        """
        with self._lock, _told(self.path):
            self._begin()
            try:
                self._refresh()
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self.forget()  # numbers of what is rolled back now mean nothing
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def vacuum(self) -> None:
        """Give the free pages of the file back to the disk.

        Raises:
            TraceError: Another process is writing.
        """
        with self._lock, _told(self.path):
            vacuum(self._connection)

    def forget(self) -> None:
        """Look numbers of blobs up again: some may have been deleted."""
        self._known.clear()

    def _begin(self) -> None:
        """Begin to write; who waited in vain for another process waits no more until it is done.

        A run has dozens of writes, and would wait for each.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._waits = False
            raise
        if not self._waits:
            self._connection.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")
            self._waits = True

    def _refresh(self) -> None:
        """Forget the numbers of blobs when another connection has written: it may have deleted."""
        [(version,)] = self._connection.execute("PRAGMA data_version").fetchall()
        if version != self._version:
            self.forget()
            self._version = version

    def _undeleted(self, batch: Sequence[Span]) -> list[Span]:
        """The spans but for those of runs whose root was written here and is gone."""
        gone = {
            trace_id
            for trace_id in {span.trace_id for span in batch} & self._begun.keys()
            if not self.rows("SELECT 1 FROM spans WHERE span_id = ?", self._begun[trace_id])
        }
        self._words.forget(span for span in batch if span.trace_id in gone)
        return [span for span in batch if span.trace_id not in gone]

    def _put_together(self, batch: Sequence[Span]) -> None:
        """Write spans of one trace, and note which blobs they need."""
        used: set[int] = set()

        def put(content: bytes) -> int:
            number = self._number(content)
            used.add(number)
            return number

        self._connection.executemany(_PUT, pack(batch, put))
        for span in batch:
            used.update(self._pictures(span.attributes))
        trace_id = bytes.fromhex(batch[0].trace_id)
        self._connection.executemany(
            "INSERT OR IGNORE INTO uses VALUES (?, ?)", ((trace_id, number) for number in used)
        )

    def _pictures(self, attributes: Mapping[str, object]) -> Iterator[int]:
        """Numbers of the blobs that attributes name by address."""
        for value in attributes.values():
            if isinstance(value, str) and (named := _ADDRESS.fullmatch(value)):
                key = bytes.fromhex(named[1])
                for (number,) in self.rows("SELECT id FROM blobs WHERE sha256 = ?", key):
                    yield number

    def _index(self, trace_id: str) -> None:
        """Make a run findable by its words, read back where it was not written here whole."""
        key = bytes.fromhex(trace_id)
        words = self._words.take(trace_id)
        if words is None:
            words = words_of(self._spans_of(key))
        [(root,)] = self.rows("SELECT id FROM spans WHERE trace_id = ? AND parent_id IS NULL", key)
        self._connection.execute(
            "INSERT OR REPLACE INTO words (rowid, text) VALUES (?, ?)",
            (root, " ".join(sorted(words))),
        )

    def _fill(self) -> None:
        """Note words and blobs of traces that an older version wrote."""
        for (trace_id,) in self.rows("SELECT trace_id FROM spans WHERE kind = 'AGENT'"):
            self._put_anew(trace_id, self._spans_of(trace_id))

    def _put_anew(self, trace_id: bytes, spans: Sequence[Span]) -> None:
        """Write a trace in the place of what stands there; what was written together is one row."""
        self._connection.execute(
            "DELETE FROM words WHERE rowid IN "
            "(SELECT id FROM spans WHERE trace_id = ? AND parent_id IS NULL)",
            (trace_id,),
        )
        for table in ("spans", "uses"):
            self._connection.execute(f"DELETE FROM {table} WHERE trace_id = ?", (trace_id,))
        for is_root in (True, False):
            if group := [span for span in spans if (span.parent_id is None) is is_root]:
                self._put_together(group)
        if any(span.parent_id is None and span.end_ns is not None for span in spans):
            self._words.forget(spans)
            self._index(trace_id.hex())

    def _spans_of(self, trace_id: bytes) -> list[Span]:
        return self.select("WHERE trace_id = ? ORDER BY start_ns, id", trace_id)

    def _bytes(self, column: str, value: object) -> bytes | None:
        for content, packed in self.rows(
            f"SELECT bytes, packed FROM blobs WHERE {column} = ?", value
        ):
            return zlib.decompress(content) if packed else bytes(content)
        return None

    def _number(self, content: bytes) -> int:
        """Keep bytes inside a transaction; returns their number."""
        key = hashlib.sha256(content).digest()
        if key not in self._known:
            # A picture is packed already, and trying takes time.
            smaller = content if content.startswith(_PNG) else zlib.compress(content)
            packed = len(smaller) < len(content)
            self._connection.execute(
                "INSERT OR IGNORE INTO blobs (sha256, bytes, packed) VALUES (?, ?, ?)",
                (key, smaller if packed else content, packed),
            )
            [(number,)] = self.rows("SELECT id FROM blobs WHERE sha256 = ?", key)
            if len(self._known) >= KNOWN_BLOBS:
                self.forget()
            self._known[key] = number
        return self._known[key]


def _part(span: Span) -> tuple[str, bool]:
    return span.trace_id, span.parent_id is None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line what the file refused."""
    try:
        yield
    except sqlite3.Error as error:
        raise TraceError(_refusal(path, error)) from error


def _refusal(path: Path, error: Exception) -> str:
    reason = str(error)
    if "locked" in reason:
        # The file of a busy process is not to be moved.
        way_out = "try again when no other process holds it"
    elif is_damaged(error):
        way_out = "move it away with its -wal and -shm files; a new one is made then"
    else:
        way_out = "free the disk, or see who may write there"
    return f"cannot use the traces at {str(path)!r} ({reason}): {way_out}"
