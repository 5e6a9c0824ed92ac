"""The tables of a trace file: made step by step, so that an older file becomes a newer one."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from mllm_srec.store.errors import StoreError

APPLICATION_ID = 0x53524543
"""`SREC` in `PRAGMA application_id`: tells our file from any other SQLite file."""

_SPANS = """
CREATE TABLE blobs (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL);
CREATE TABLE spans (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL, span_id BLOB NOT NULL UNIQUE, parent_id BLOB,
    name TEXT NOT NULL, kind TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER,
    status TEXT NOT NULL, message TEXT NOT NULL, attributes TEXT NOT NULL,
    shared INTEGER REFERENCES blobs (id), events TEXT NOT NULL
);
CREATE INDEX spans_of_trace ON spans (trace_id);
CREATE INDEX roots ON spans (start_ns) WHERE parent_id IS NULL;
"""


def _column(name: str, attribute: str) -> str:
    """A column that reads an attribute; JSON of ours may hold NaN, which SQLite does not take."""
    value = f"json_extract(attributes, '$.\"{attribute}\"')"
    value = f"CASE WHEN json_valid(attributes) THEN {value} END"
    return f"ALTER TABLE spans ADD COLUMN {name} AS ({value}) VIRTUAL;\n"


# `runs` holds every column that a list filters by, so that a list reads the index alone. `words`
# holds the different words of each run under the number of its root: enough to find it by, and a
# fifth of the texts. `uses` says which traces need a blob, so that deleting a trace deletes it.
_SEARCH = f"""
{_column("user", "user.id")}{_column("engine", "srec.engine")}{_column("model", "llm.model_name")}
{_column("score", "srec.score")}
ALTER TABLE blobs ADD COLUMN packed INTEGER NOT NULL DEFAULT 0;
DROP INDEX roots;
CREATE INDEX runs ON spans
    (start_ns, end_ns, status, user, engine, model, score, name, trace_id, parent_id)
    WHERE parent_id IS NULL;
CREATE INDEX nodes ON spans (name, trace_id) WHERE kind NOT IN ('LLM', 'EMBEDDING');
CREATE INDEX failures ON spans (trace_id) WHERE status = 'ERROR';
CREATE VIRTUAL TABLE words USING fts5
    (text, detail = none, tokenize = 'unicode61 remove_diacritics 2');
CREATE TABLE uses (trace_id BLOB, blob INTEGER, PRIMARY KEY (trace_id, blob)) WITHOUT ROWID;
CREATE INDEX uses_of_blob ON uses (blob);
CREATE TABLE annotations (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL, time_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    verdict TEXT NOT NULL, note TEXT NOT NULL
);
CREATE INDEX annotations_of_trace ON annotations (trace_id);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_ROWS = ""
_STEPS = (_SPANS, _SEARCH, _ROWS)
"""What each version adds to the one before; the third, that calls of one batch are one row."""
FILLED = 2
"""Version from which on words and blobs of every trace are noted."""
SCHEMA = len(_STEPS)
"""Version of the tables, in `PRAGMA user_version`."""


class TraceError(StoreError):
    """The trace file cannot be used; the message names the way out."""


def prepare(connection: sqlite3.Connection, path: Path, fill: Callable[[], None]) -> None:
    """Make the tables, or bring those of an older version up; what is not ours stays as it is.

    Args:
        connection: To the file, outside a transaction.
        path: Of the file.
        fill: Fills the tables that an older version did not have, inside the transaction.

    Raises:
        TraceError: The file is not ours, or of a newer version.
    """
    # Deleted bytes are overwritten: a person's texts must not stay in free pages.
    for pragma in ("synchronous = NORMAL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")
    version = _version(connection, path)
    if version == SCHEMA:
        return
    if not version:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        if (current := _version(connection, path)) != SCHEMA:
            for step in _STEPS[current:]:
                for statement in step.split(";\n"):
                    connection.execute(statement)
            if 0 < current < FILLED:
                fill()
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    def pragma(name: str) -> int:
        [(value,)] = connection.execute(f"PRAGMA {name}").fetchall()
        assert isinstance(value, int)
        return value

    version, owner = pragma("user_version"), pragma("application_id")
    [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if (version, owner, tables) == (0, 0, 0):
        return 0
    if owner != APPLICATION_ID:
        raise TraceError(f"{str(path)!r} is not a trace file of ours: choose another home")
    if not 0 < version <= SCHEMA:
        raise TraceError(
            f"{str(path)!r} is version {version} of the trace file, this program reads up to "
            f"{SCHEMA}: use the version of mllm-srec that wrote it, or move the file away"
        )
    return version
