"""The checkpointer of conversations: SQLite in the home, plain data only, and never growing."""

from pathlib import Path

import aiosqlite
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from mllm_srec.store.files import owner_only

KEPT = 4
"""Newest checkpoints of a thread: those of one turn, which is all that a resumption needs."""
BUSY_MS = 30_000
WAL_PAGES = 64


async def open_saver(path: Path) -> AsyncSqliteSaver:
    """Open the checkpointer; nothing but plain data is ever rebuilt from it."""
    with open(path, "ab", opener=owner_only):
        pass
    connection = await aiosqlite.connect(path)
    await connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    # The write-ahead file is emptied early: what is pruned shall not stay on the disk.
    await connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    # No type is allowed: the state is text, numbers and lists. Pickle is refused.
    serde = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
    saver = AsyncSqliteSaver(connection, serde=serde)
    await saver.setup()
    return saver


async def prune(saver: AsyncSqliteSaver, thread_id: str, *, kept: int = KEPT) -> None:
    """Delete all but the newest checkpoints of a thread, in one transaction."""
    newest = (
        "SELECT checkpoint_id FROM checkpoints WHERE thread_id = ? "
        "ORDER BY checkpoint_id DESC LIMIT ?"
    )
    async with saver.lock:
        for table in ("writes", "checkpoints"):
            await saver.conn.execute(
                f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id NOT IN ({newest})",
                (thread_id, thread_id, kept),
            )
        await saver.conn.commit()
