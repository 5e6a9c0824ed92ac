"""The checkpointer in PostgreSQL; imported only for a home that is kept there."""

import asyncio

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from sqlalchemy.engine import URL

from mllm_srec.store.errors import StoreError

_MAKING_TABLES = 0x73726564
"""PostgreSQL's advisory lock of the one process that makes LangGraph's tables."""
_WAIT_S = 0.1
AWAY_S = 10.0
"""A server that is started again is waited for so long."""


class _Saver(AsyncPostgresSaver):
    """Keeps what JSONB cannot: texts with NUL or half a surrogate pair, without these."""

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        values = checkpoint["channel_values"].items()
        kept = {name: _text(each) if isinstance(each, str) else each for name, each in values}
        return await super().aput(
            config, {**checkpoint, "channel_values": kept}, metadata, new_versions
        )


def _text(value: str) -> str:
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


async def open_postgresql(address: URL, serde: SerializerProtocol) -> AsyncPostgresSaver:
    """Open the checkpointer; a connection that the server ended is made again.

    Raises:
        StoreError: The database does not answer.
    """
    conninfo = _conninfo(address)
    # The saver uses one connection at a time.
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        conninfo,
        min_size=1,
        max_size=1,
        # As `AsyncPostgresSaver.from_conn_string` connects.
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        check=AsyncConnectionPool.check_connection,
        timeout=AWAY_S,
        open=False,
    )
    saver = _Saver(pool, serde=serde)
    try:
        # A pool would try again for half a minute before it says why it cannot.
        await _make_tables(conninfo)
        await pool.open()
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"the database {address.database!r} answers {reason!r}") from error
    return saver


def _conninfo(address: URL) -> str:
    """The address as PostgreSQL's own library reads it, for which a plus is no space."""
    written = address.set(drivername="postgresql").render_as_string(hide_password=False)
    place, mark, query = written.partition("?")
    return place + mark + query.replace("+", "%20")


async def _make_tables(conninfo: str) -> None:
    # The lock goes with its connection.
    async with await AsyncConnection.connect(conninfo, autocommit=True) as guard:
        while not await _locked(guard):
            # Asked again and again: who waited inside a statement would hold up the indexes,
            # which are made beside running work.
            await asyncio.sleep(_WAIT_S)
        async with AsyncPostgresSaver.from_conn_string(conninfo) as saver:
            await saver.setup()


async def _locked(connection: AsyncConnection) -> bool:
    asked = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_MAKING_TABLES,))
    return await asked.fetchone() == (True,)
