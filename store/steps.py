"""What the model answered before, by content hash: a repeated request makes no model call."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Column, MetaData, String, Table, Text, delete, func, select

from mllm_srec.store.sql import SqlStore, chunks, upsert

_TABLES = MetaData()

_STEPS = Table(
    "steps",
    _TABLES,
    Column("key", String(64), primary_key=True),
    Column("result", Text, nullable=False),
    Column("owner", String(200), index=True),
    sqlite_with_rowid=False,
)


class StepCache(SqlStore):
    """Results of chain steps as JSON text, by the SHA-256 of everything they depend on.

    A file of its own: several processes that recommend may fill it beside one that ingests, each
    `put` is one short transaction, and two that make the same result write the same row.
    """

    _tables = _TABLES

    def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Results by key; keys without one are left out."""
        found: dict[str, str] = {}
        for part in chunks(keys):
            query = select(_STEPS.c.key, _STEPS.c.result).where(_STEPS.c.key.in_(part))
            found.update((row.key, row.result) for row in self._rows(query))
        return found

    def put_many(self, results: Mapping[str, str], *, owner: str | None = None) -> None:
        """Keep results.

        Args:
            results: Key to JSON text; a key that is there is replaced.
            owner: The user from whose history they were made, so that they go when the user does.
        """
        # In one order: two processes that write the same rows must not wait for each other.
        rows = ({"key": key, "result": results[key], "owner": owner} for key in sorted(results))
        with self._writing() as connection:
            for part in chunks(rows):
                upsert(connection, _STEPS, part)

    def delete_owner(self, owner: str) -> int:
        """Delete what was made from a user's history; how many results there were."""
        with self._writing() as connection:
            return connection.execute(delete(_STEPS).where(_STEPS.c.owner == owner)).rowcount

    def count(self) -> int:
        """How many results are kept."""
        return int(self._rows(select(func.count()).select_from(_STEPS))[0][0])
