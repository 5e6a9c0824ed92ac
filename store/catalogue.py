"""Items, interactions and the descriptions of items, in SQL."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import polars as pl
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    delete,
    func,
    select,
    text,
)

from mllm_srec.store.errors import StoreError
from mllm_srec.store.records import FusedItem, Interaction, Item, Representation
from mllm_srec.store.sql import ID, SqlStore, chunks, damaged, open_engine, upsert

Lock = Callable[[], AbstractContextManager[None]]
"""Makes the caller the one writer for the length of a block."""

_TABLES = MetaData()

_ITEMS = Table(
    "items",
    _TABLES,
    Column("item_id", ID, primary_key=True),
    Column("title", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("categories", Text, nullable=False),  # a JSON list
    Column("description", Text, nullable=False),
    Column("keywords", Text, nullable=False),
    Column("price", Double),
    Column("picture", String(64)),
    sqlite_with_rowid=False,
)

# A user's rows lie together: the key starts with the user.
_INTERACTIONS = Table(
    "interactions",
    _TABLES,
    Column("user_id", ID, primary_key=True),
    Column("item_id", ID, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("rating", Double),
    Column("timestamp", BigInteger),
    Index("interactions_of_item", "item_id"),
    sqlite_with_rowid=False,
)

_REPRESENTATIONS = Table(
    "representations",
    _TABLES,
    Column("item_id", ID, primary_key=True),
    Column("fused", Text, nullable=False),  # a FusedItem as JSON
    Column("fallback", Boolean, nullable=False),
    Column("key", Text, nullable=False),
    sqlite_with_rowid=False,
)

_FRAME = {
    "user_id": pl.String,
    "item_id": pl.String,
    "position": pl.Int64,
    "rating": pl.Float64,
    "timestamp": pl.Int64,
}


class Catalogue(SqlStore):
    """The shop as SQL tables. Every method that writes is one transaction, whole or not at all."""

    _tables = _TABLES

    def __init__(self, engine: Engine, lock: Lock = nullcontext) -> None:
        super().__init__(engine)
        self._lock = lock

    @classmethod
    def open(cls, url: str, *, lock: Lock = nullcontext) -> Self:
        """Open the catalogue as `SqlStore.open` does; writes take the lock first."""
        return cls(open_engine(url, cls._tables), lock)

    def items(self, ids: Iterable[str] | None = None) -> dict[str, Item]:
        """The items by id, in the order of their ids; unknown ids are left out."""
        return {row.item_id: _item(row) for row in self._by_item(_ITEMS, ids)}

    def item(self, item_id: str) -> Item | None:
        """One item, None where there is none of that id."""
        return self.items([item_id]).get(item_id)

    def item_ids(self) -> list[str]:
        """The ids of all items, in order."""
        return self._column(select(_ITEMS.c.item_id).order_by(_ITEMS.c.item_id))

    def pictured(self, keys: Iterable[str]) -> set[str]:
        """Which of some pictures, by content hash, an item has."""
        table = _ITEMS.c.picture
        return {
            key
            for part in chunks(keys)
            for key in self._column(select(table).where(table.in_(part)).distinct())
        }

    def put_items(self, items: Iterable[Item]) -> None:
        """Add items; an item whose id is there is replaced."""
        self.put_shop(items, ())

    def put_interactions(self, interactions: Iterable[Interaction]) -> None:
        """Add interactions; one of the same user with the same item is replaced."""
        self.put_shop((), interactions)

    def put_shop(
        self,
        items: Iterable[Item],
        interactions: Iterable[Interaction],
        *,
        wrote: Callable[[int], None] | None = None,
    ) -> None:
        """Add or replace items and interactions, all of them or none.

        Args:
            items: Taken one by one, so a generator serves.
            interactions: The same.
            wrote: Told the number of rows after each batch.
        """
        rows: tuple[tuple[Table, Iterable[dict[str, Any]]], ...] = (
            (_ITEMS, map(_item_row, items)),
            (_INTERACTIONS, (interaction.model_dump() for interaction in interactions)),
        )
        with self._writing() as connection:
            for table, values in rows:
                for part in chunks(values):
                    upsert(connection, table, part)
                    if wrote:
                        wrote(len(part))

    def delete_item(self, item_id: str) -> bool:
        """Delete an item with its interactions and its description; False if it was not there.

        Its vector is the business of `RepresentationIndex.delete`.
        """
        with self._writing() as connection:
            for table in (_INTERACTIONS, _REPRESENTATIONS):
                connection.execute(delete(table).where(table.c.item_id == item_id))
            gone = connection.execute(delete(_ITEMS).where(_ITEMS.c.item_id == item_id))
            return gone.rowcount > 0

    def delete_interaction(self, user_id: str, item_id: str) -> Interaction | None:
        """Delete one interaction and return it; None where there was none."""
        table = _INTERACTIONS.c
        one = (table.user_id == user_id) & (table.item_id == item_id)
        with self._writing() as connection:
            gone = connection.execute(delete(_INTERACTIONS).where(one).returning(_INTERACTIONS))
            row = gone.first()
            return None if row is None else Interaction(**row._mapping)

    def delete_user(self, user_id: str) -> int:
        """Delete a user's interactions; how many there were."""
        with self._writing() as connection:
            mine = _INTERACTIONS.c.user_id == user_id
            return connection.execute(delete(_INTERACTIONS).where(mine)).rowcount

    def history(self, user_id: str, before_position: int | None = None) -> list[Interaction]:
        """A user's interactions in time order; with `before_position` only those before it."""
        return self.histories([user_id], before_position=before_position).get(user_id, [])

    def histories(
        self, user_ids: Iterable[str], *, before_position: int | None = None
    ) -> dict[str, list[Interaction]]:
        """The histories of several users; those without any are left out."""
        table, found = _INTERACTIONS.c, dict[str, list[Interaction]]()
        for part in chunks(user_ids):
            query = select(_INTERACTIONS).where(table.user_id.in_(part))
            if before_position is not None:
                query = query.where(table.position < before_position)
            query = query.order_by(table.user_id, table.position, table.item_id)
            for row in self._rows(query):
                found.setdefault(row.user_id, []).append(Interaction(**row._mapping))
        return found

    def user_ids(self) -> list[str]:
        """The ids of all users with an interaction, in order."""
        users = _INTERACTIONS.c.user_id
        return self._column(select(users).distinct().order_by(users))

    def rating_range(self) -> tuple[float, float] | None:
        """The lowest and the highest rating of the log; None where it has none."""
        rating = _INTERACTIONS.c.rating
        [found] = self._rows(select(func.min(rating).label("low"), func.max(rating).label("high")))
        return None if found.low is None else (found.low, found.high)

    def interactions_frame(self) -> pl.DataFrame:
        """All interactions by user and position.

        Returns:
            Columns user_id, item_id (String), position, timestamp (Int64, seconds) and rating
            (Float64).
        """
        table = _INTERACTIONS.c
        query = select(*(table[name] for name in _FRAME))
        rows = self._rows(query.order_by(table.user_id, table.position, table.item_id))
        return pl.DataFrame([tuple(row) for row in rows], schema=_FRAME, orient="row")

    def put_representations(self, representations: Iterable[Representation]) -> None:
        """Keep descriptions; one of the same item is replaced.

        Put the vectors first: a process killed between the two then describes these items again,
        and no description is without its vector.
        """
        rows = [
            {
                "item_id": one.item_id,
                "fused": one.fused.model_dump_json(),
                "fallback": one.fallback,
                "key": one.key,
            }
            for one in representations
        ]
        with self._writing() as connection:
            for part in chunks(rows):
                upsert(connection, _REPRESENTATIONS, part)

    def representations(self, ids: Iterable[str] | None = None) -> dict[str, Representation]:
        """The descriptions by item id, in the order of the ids; items without one are left out."""
        return {
            row.item_id: Representation(
                item_id=row.item_id,
                fused=FusedItem.model_validate_json(row.fused),
                fallback=row.fallback,
                key=row.key,
            )
            for row in self._by_item(_REPRESENTATIONS, ids)
        }

    def check(self) -> None:
        """Read through a SQLite file; a PostgreSQL server looks after its own.

        Raises:
            StoreError: The file is damaged.
        """
        if self._engine.dialect.name != "sqlite":
            return
        with self._told(), self._engine.connect() as connection:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
        if found != "ok":
            raise StoreError(damaged(str(self._engine.url.database), str(found)))

    def item_count(self) -> int:
        """How many items there are."""
        return self._count(select(func.count()).select_from(_ITEMS))

    def interaction_count(self) -> int:
        """How many interactions there are."""
        return self._count(select(func.count()).select_from(_INTERACTIONS))

    def user_count(self) -> int:
        """How many users have an interaction."""
        return self._count(select(func.count(_INTERACTIONS.c.user_id.distinct())))

    def representation_count(self) -> int:
        """How many items have a description."""
        return self._count(select(func.count()).select_from(_REPRESENTATIONS))

    def fallback_count(self) -> int:
        """How many descriptions are plain forms, put there by code."""
        table = _REPRESENTATIONS
        return self._count(select(func.count()).select_from(table).where(table.c.fallback))

    def newest_timestamp(self) -> int | None:
        """The newest time of the log, seconds since 1970 UTC; None without any times."""
        newest: int | None = self._rows(select(func.max(_INTERACTIONS.c.timestamp)))[0][0]
        return newest

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._lock(), super()._writing() as connection:
            yield connection

    def _by_item(self, table: Table, ids: Iterable[str] | None) -> list[Row[Any]]:
        query = select(table).order_by(table.c.item_id)
        if ids is None:
            return list(self._rows(query))
        wanted = chunks(sorted(set(ids)))
        return [
            row for part in wanted for row in self._rows(query.where(table.c.item_id.in_(part)))
        ]

    def _column(self, query: Select[Any]) -> list[str]:
        return [row[0] for row in self._rows(query)]

    def _count(self, query: Select[Any]) -> int:
        return int(self._rows(query)[0][0])


def _item_row(item: Item) -> dict[str, Any]:
    return {**item.model_dump(), "categories": json.dumps(item.categories, ensure_ascii=False)}


def _item(row: Row[Any]) -> Item:
    return Item(**{**row._mapping, "categories": tuple(json.loads(row.categories))})
