"""The working memory of conversations: tables that LangGraph writes, deleted from here."""

from sqlalchemy import MetaData, column, delete, inspect, table

from mllm_srec.store.sql import open_engine, sql_errors

TABLES = {"writes", "checkpoints", "checkpoint_writes", "checkpoint_blobs"}
"""Those that name a thread; SQLite has the first two, PostgreSQL all but the first."""


def delete_checkpoints(url: str, thread_id: str) -> None:
    """Delete all that is remembered of a thread, if there is anything.

    Raises:
        StoreError: The database at the SQLAlchemy address does not answer, or cannot be written.
    """
    engine = open_engine(url, MetaData())
    try:
        with sql_errors(engine), engine.begin() as connection:
            for name in TABLES.intersection(inspect(connection).get_table_names()):
                of_thread = column("thread_id") == thread_id
                connection.execute(delete(table(name, column("thread_id"))).where(of_thread))
    finally:
        engine.dispose()
