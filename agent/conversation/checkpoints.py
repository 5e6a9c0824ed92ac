"""The checkpointer of conversations: SQLite or PostgreSQL, plain data only, and never growing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import id as ids
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from sqlalchemy.engine import make_url

from mllm_srec.store.errors import StoreError
from mllm_srec.store.files import make_private

if TYPE_CHECKING:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

Saver: TypeAlias = "AsyncSqliteSaver | AsyncPostgresSaver"

KEPT = 4
"""Newest checkpoints of a thread: those of one turn, which is all that a resumption needs."""
BUSY_MS = 30_000
WAL_PAGES = 64


async def open_saver(url: str) -> Saver:
    """Open the checkpointer; nothing but plain data is ever rebuilt from it.

    Args:
        url: SQLAlchemy address of a SQLite file or a PostgreSQL database.

    Raises:
        StoreError: PostgreSQL does not answer, or the extra for it is not installed.
    """
    # No type is allowed: the state is text, numbers and lists. Pickle is refused.
    serde = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return await _open_sqlite(Path(str(address.database)), serde)
    try:
        from mllm_srec.agent.conversation.postgresql import open_postgresql  # noqa: PLC0415
    except ImportError as error:
        raise StoreError(
            f"conversations cannot be kept in PostgreSQL ({error}): "
            "pip install 'mllm-srec[postgres]'"
        ) from error
    return await open_postgresql(address, serde)


async def _open_sqlite(path: Path, serde: JsonPlusSerializer) -> AsyncSqliteSaver:
    make_private(path)
    connection = await aiosqlite.connect(path)
    await connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    # The write-ahead file is emptied early: what is pruned shall not stay on the disk.
    await connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    saver = AsyncSqliteSaver(connection, serde=serde)
    await saver.setup()
    return saver


async def prune(saver: Saver, thread_id: str) -> None:
    """Delete all but the newest checkpoints of a thread, in one transaction.

    In PostgreSQL the newest alone stays: between turns a resumption needs no other.
    """
    if not isinstance(saver, AsyncSqliteSaver):
        await saver.aprune([thread_id])
        return
    newest = (
        "SELECT checkpoint_id FROM checkpoints WHERE thread_id = ? "
        "ORDER BY checkpoint_id DESC LIMIT ?"
    )
    async with saver.lock:
        for table in ("writes", "checkpoints"):
            await saver.conn.execute(
                f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id NOT IN ({newest})",
                (thread_id, thread_id, KEPT),
            )
        await saver.conn.commit()


def go_on_from(newest: RunnableConfig) -> None:
    """Have the checkpoints that this process makes follow one, also where the clock went back.

    LangGraph puts the time into the ids of checkpoints, and takes the highest id for the newest:
    until the clock came to where it was, every turn would find the memory from before.
    """
    checkpoint_id = newest["configurable"].get("checkpoint_id")
    if checkpoint_id is not None:
        # What LangGraph itself keeps, so that the ids of one process rise.
        kept: dict[str, Any] = vars(ids)
        before = kept["_last_v6_timestamp"] or 0
        kept["_last_v6_timestamp"] = max(before, ids.UUID(checkpoint_id).time)


async def copy_memory(saver: Saver, thread_id: str, to: str) -> None:
    """Give a new thread the newest checkpoint of another one, if it has any."""
    newest = await saver.aget_tuple({"configurable": {"thread_id": thread_id}})
    if newest is not None:
        config: RunnableConfig = {"configurable": {"thread_id": to, "checkpoint_ns": ""}}
        versions = newest.checkpoint["channel_versions"]
        await saver.aput(config, newest.checkpoint, newest.metadata, versions)


@contextmanager
def memory_errors(saver: Saver, thread_id: str) -> Iterator[None]:
    """Say in one line what the database of the checkpoints refused.

    Raises:
        StoreError: It is locked, damaged or full, or its server is away.
    """
    try:
        yield
    except _refusals(saver) as error:
        reason = " ".join(str(error).split())
        raise StoreError(
            f"the conversation {thread_id!r} could not be kept ({reason}): try again when its "
            "database answers and no other process holds it"
        ) from error


def _refusals(saver: Saver) -> type[Exception]:
    """What the database behind a checkpointer raises."""
    if isinstance(saver, AsyncSqliteSaver):
        return sqlite3.Error
    import psycopg  # noqa: PLC0415 - of an extra; whoever has this saver has it

    return psycopg.Error
