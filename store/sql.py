"""What the SQL stores share: their base, opening a database, upserts, errors in one line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Row,
    Select,
    String,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.sql.dml import Insert

from mllm_srec.store.clock import store_time
from mllm_srec.store.errors import StoreError
from mllm_srec.store.files import alone_in, disk_full, make_private
from mllm_srec.store.sqlite_files import BUSY_S, is_damaged

CHUNK = 5_000
"""Rows of one statement; SQLite takes at most 32,766 variables."""

ID = String(200).with_variant(String(200, collation="C"), "postgresql")
"""An id, in the order of Python on every database: PostgreSQL's own is that of its locale."""
_MAKING_TABLES = 0x73726563
"""PostgreSQL's advisory lock of the one process that makes tables."""

_T = TypeVar("_T")


class SqlStore:
    """Tables of one purpose in a database of their own, or beside those of other stores."""

    _tables: ClassVar[MetaData]

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the store at a SQLAlchemy address, SQLite or PostgreSQL.

        Raises:
            StoreError: The database does not open.
        """
        return cls(open_engine(url, cls._tables))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self._told(), self._engine.connect() as connection:
            return connection.execute(query).all()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction, whole or not at all."""
        with self._told(), self._engine.begin() as connection:
            yield connection

    def _told(self) -> AbstractContextManager[None]:
        return sql_errors(self._engine, type(self).__name__)


def open_engine(url: str, tables: MetaData) -> Engine:
    """Open a database and make the tables that are missing.

    Raises:
        StoreError: The address is wrong, its driver is missing, or the database does not open.
    """
    made: AbstractContextManager[None] = nullcontext()
    try:
        address = make_url(url)
        if address.get_backend_name() == "sqlite":
            engine = create_engine(address, connect_args={"timeout": BUSY_S})
            event.listen(engine, "connect", _prepare_sqlite)
            if address.database:
                # The write-ahead files take over the mode of this one.
                make_private(Path(address.database))
                # Two that turn a new file to write-ahead, or make its tables, refuse each other.
                made = alone_in(Path(address.database).parent)
        else:
            # A server that was started again is met by a new connection.
            engine = create_engine(address, pool_pre_ping=True)
    except OSError as error:
        raise StoreError(f"the database {address.database!r} does not open: {error}") from error
    except ArgumentError as error:
        # Without the address: it may hold a password.
        raise StoreError("the database address is no SQLAlchemy URL") from error
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            f"no driver for {address.drivername!r} databases is installed ({error}): for "
            "PostgreSQL, pip install 'mllm-srec[postgres]'"
        ) from error
    with made, sql_errors(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Its CREATE TABLE IF NOT EXISTS fails where two processes get there at once.
            connection.execute(select(func.pg_advisory_xact_lock(_MAKING_TABLES)))
        tables.create_all(connection)
    return engine


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; a row whose primary key is there replaces it."""
    if rows:
        connection.execute(upsert_statement(connection.dialect.name, table), rows)


def upsert_statement(dialect: str, table: Table) -> Insert:
    """The statement that inserts or replaces a row, for SQLite or PostgreSQL."""
    keys = list(table.primary_key.columns)
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    values = {c.name: insert.excluded[c.name] for c in table.columns if c not in set(keys)}
    return insert.on_conflict_do_update(index_elements=keys, set_=values)


def chunks(values: Iterable[_T], size: int = CHUNK) -> Iterator[list[_T]]:
    """Yield the values in lists of `size`, the last one shorter."""
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part


@contextmanager
def sql_errors(engine: Engine, store: str = "SQL") -> Iterator[None]:
    """Turn what the database says into one line with a way out, and count the time as a store's.

    Raises:
        StoreError: The disk is full, the file is damaged or no database, or the database is busy
            or away.
    """
    place = engine.url.database or engine.url.render_as_string(hide_password=True)
    try:
        with store_time(store):
            yield
    except DBAPIError as error:
        reason = str(error.orig)
        # SQLite calls a file that may not grow an I/O error.
        if "is full" in reason or "disk I/O error" in reason:
            raise StoreError(disk_full(place)) from error
        if "is locked" in reason:
            raise StoreError(
                f"the database {place!r} is held by another process: try again when it is done"
            ) from error
        reason = " ".join(reason.split())
        if is_damaged(error.orig):
            raise StoreError(damaged(place, reason)) from error
        raise StoreError(f"the database {place!r} answers {reason!r}") from error


def damaged(place: str, reason: str) -> str:
    """That a SQLite file is damaged, and the way out."""
    return (
        f"the database {place!r} is damaged ({reason}): put a backup of it in its place, or move "
        "it away with its -wal and -shm files; an empty one is made then, and `srec ingest` fills "
        "that of the shop"
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Write-ahead: readers go on while one process writes, and a killed writer leaves no trace.
    # Synchronous "normal" may lose the last commits when the power fails, never the consistency;
    # ingest repeats them.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
