"""Conversations as people look back on them: threads, and what was said in each turn.

The working memory of a conversation is the checkpointer's; this is the record. A turn is written
down before it is worked on, so that a crash at any moment loses nothing that was said.
"""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    literal,
    select,
    true,
    update,
)

from mllm_srec.store.errors import StoreError
from mllm_srec.store.records import Record
from mllm_srec.store.sql import ID, SqlStore

FIRST = 80
"""Characters by which a person knows a thread again."""

_TABLES = MetaData()

_THREADS = Table(
    "threads",
    _TABLES,
    Column("thread_id", String(64), primary_key=True),
    Column("user_id", ID, nullable=False, index=True),
    Column("started", BigInteger, nullable=False),
)

_TURNS = Table(
    "turns",
    _TABLES,
    Column("thread_id", String(64), primary_key=True),
    Column("turn", Integer, primary_key=True),
    Column("key", String(200)),
    Column("said", Text, nullable=False),  # the caller's request as JSON
    Column("result", Text),  # what came of it as JSON; NULL until it is done
    sqlite_with_rowid=False,
)


class Thread(Record):
    """One conversation, bound to one user."""

    thread_id: str
    user_id: str
    started: int
    """Seconds since 1970-01-01 UTC."""
    turns: int = 0
    first: str = ""
    """What was said first, the beginning of it."""


class KeptTurn(Record):
    """What was said, and what came of it."""

    turn: int
    """1, 2, 3, ..."""
    said: dict[str, Any]
    result: dict[str, Any] | None = None
    """None while the turn is worked on, and after a crash."""


class ThreadStore(SqlStore):
    """Threads and their turns."""

    _tables = _TABLES

    def start(self, thread_id: str, user_id: str, *, now: int) -> Thread:
        """Begin a thread; one that is there is taken up again.

        Raises:
            StoreError: It belongs to another user.
        """
        with self._writing() as connection:
            mine = _THREADS.c.thread_id == thread_id
            row = connection.execute(select(_THREADS).where(mine)).first()
            if row is None:
                values = {"thread_id": thread_id, "user_id": user_id, "started": now}
                connection.execute(insert(_THREADS).values(values))
            elif row.user_id != user_id:
                raise StoreError(
                    f"the thread {thread_id!r} is another user's: start one without naming it"
                )
        return Thread(thread_id=thread_id, user_id=user_id, started=row.started if row else now)

    def thread(self, thread_id: str) -> Thread | None:
        """One thread, None where there is none of that id."""
        return next(iter(self._threads(_THREADS.c.thread_id == thread_id)), None)

    def of(self, user_id: str) -> list[Thread]:
        """The threads of a user, newest first."""
        return self._threads(_THREADS.c.user_id == user_id)

    def all(self) -> list[Thread]:
        """The threads of all users, newest first."""
        return self._threads(true())

    def copy(self, thread_id: str, to: str, *, now: int) -> Thread:
        """Begin a thread with all that was said in another one.

        Raises:
            StoreError: There is no thread to copy.
        """
        old = self.thread(thread_id)
        if old is None:
            raise StoreError(f"there is no thread {thread_id!r}: `threads` lists those of a user")
        mine = _TURNS.c.thread_id == thread_id
        kept = [column for column in _TURNS.columns if column is not _TURNS.c.thread_id]
        with self._writing() as connection:
            values = {"thread_id": to, "user_id": old.user_id, "started": now}
            connection.execute(insert(_THREADS).values(values))
            names = ["thread_id", *(column.name for column in kept)]
            turns = select(literal(to), *kept).where(mine)
            connection.execute(insert(_TURNS).from_select(names, turns))
        return Thread(thread_id=to, user_id=old.user_id, started=now, turns=old.turns)

    def accept(self, thread_id: str, said: Mapping[str, Any], *, key: str | None = None) -> int:
        """Write down what was said, before anything is done about it; the number of the turn."""
        with self._writing() as connection:
            last = select(func.max(_TURNS.c.turn)).where(_TURNS.c.thread_id == thread_id)
            turn = int(connection.execute(last).scalar() or 0) + 1
            values = {"thread_id": thread_id, "turn": turn, "key": key, "said": json.dumps(said)}
            connection.execute(insert(_TURNS).values(values))
        return turn

    def finish(self, thread_id: str, turn: int, result: Mapping[str, Any]) -> None:
        """Keep what came of a turn."""
        mine = (_TURNS.c.thread_id == thread_id) & (_TURNS.c.turn == turn)
        with self._writing() as connection:
            connection.execute(update(_TURNS).where(mine).values(result=json.dumps(result)))

    def turns(self, thread_id: str) -> list[KeptTurn]:
        """The turns of a thread, oldest first."""
        query = select(_TURNS).where(_TURNS.c.thread_id == thread_id).order_by(_TURNS.c.turn)
        return [_turn(row) for row in self._rows(query)]

    def turn_of(self, thread_id: str, key: str) -> KeptTurn | None:
        """The turn under a caller's key, None where there is none."""
        mine = (_TURNS.c.thread_id == thread_id) & (_TURNS.c.key == key)
        return next(map(_turn, self._rows(select(_TURNS).where(mine))), None)

    def unfinished(self, thread_id: str) -> KeptTurn | None:
        """The last turn where nothing came of it yet, else None."""
        mine = select(_TURNS).where(_TURNS.c.thread_id == thread_id)
        rows = self._rows(mine.order_by(_TURNS.c.turn.desc()).limit(1))
        return _turn(rows[0]) if rows and rows[0].result is None else None

    def delete(self, thread_id: str) -> bool:
        """Delete a thread with its turns; False where there was none."""
        with self._writing() as connection:
            connection.execute(delete(_TURNS).where(_TURNS.c.thread_id == thread_id))
            mine = _THREADS.c.thread_id == thread_id
            return connection.execute(delete(_THREADS).where(mine)).rowcount > 0

    def _threads(self, which: Any) -> list[Thread]:
        counted = select(_TURNS.c.thread_id, func.count().label("turns")).group_by(
            _TURNS.c.thread_id
        )
        turns = counted.subquery()
        first = (_TURNS.c.thread_id == _THREADS.c.thread_id) & (_TURNS.c.turn == 1)
        query = (
            select(_THREADS, turns.c.turns, _TURNS.c.said)
            .join(turns, turns.c.thread_id == _THREADS.c.thread_id, isouter=True)
            .join(_TURNS, first, isouter=True)
            .where(which)
            .order_by(_THREADS.c.started.desc(), _THREADS.c.thread_id)
        )
        return [_thread(row) for row in self._rows(query)]


def _thread(row: Row[Any]) -> Thread:
    return Thread(
        thread_id=row.thread_id,
        user_id=row.user_id,
        started=row.started,
        turns=row.turns or 0,
        first=json.loads(row.said)["text"][:FIRST] if row.said else "",
    )


def _turn(row: Row[Any]) -> KeptTurn:
    return KeptTurn(
        turn=row.turn,
        said=json.loads(row.said),
        result=None if row.result is None else json.loads(row.result),
    )
