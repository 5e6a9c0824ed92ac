import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import make_url

from mllm_srec.store import catalogue as tables
from mllm_srec.store.catalogue import Catalogue
from mllm_srec.store.errors import StoreError
from mllm_srec.store.records import FusedItem, Interaction, Item, Representation
from mllm_srec.store.sql import upsert_statement

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ids = st.sampled_from(["1", "2", "é", "a b", "'; drop table items; --", "x" * 200])
items = st.builds(
    Item,
    item_id=ids,
    title=words,
    brand=words,
    categories=st.lists(words, max_size=3).map(tuple),
    price=st.none() | st.floats(0, 1e9),
    picture=st.none() | st.just("0" * 64),
)
interactions = st.builds(
    Interaction,
    user_id=ids,
    item_id=ids,
    position=st.integers(0, 5),
    rating=st.none() | st.floats(-5, 5),
    timestamp=st.none() | st.integers(0, 2**53),
)
representations = st.builds(
    Representation,
    item_id=ids,
    fused=st.builds(
        FusedItem, what=words.filter(bool), seen=st.dictionaries(st.just("colour"), st.just("red"))
    ),
    fallback=st.booleans(),
    key=words,
)


@pytest.fixture
def catalogue(database: str) -> Iterator[Catalogue]:
    with closing(Catalogue.open(database)) as opened:
        yield opened


class CatalogueIsAsGoodAsDicts(RuleBasedStateMachine):
    """Does the same to a catalogue and to plain dicts, and compares."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.catalogue = catalogue
        for user_id in catalogue.user_ids():
            catalogue.delete_user(user_id)
        for item_id in {*catalogue.item_ids(), *catalogue.representations()}:
            catalogue.delete_item(item_id)
        self.items: dict[str, Item] = {}
        self.log: dict[tuple[str, str], Interaction] = {}
        self.fused: dict[str, Representation] = {}

    @rule(new=st.lists(items, max_size=4))
    def put_items(self, new: list[Item]) -> None:
        self.catalogue.put_items(new)
        self.items |= {item.item_id: item for item in new}

    @rule(new=st.lists(interactions, max_size=6))
    def put_interactions(self, new: list[Interaction]) -> None:
        self.catalogue.put_interactions(new)
        self.log |= {(one.user_id, one.item_id): one for one in new}

    @rule(new=st.lists(representations, max_size=4))
    def put_representations(self, new: list[Representation]) -> None:
        self.catalogue.put_representations(new)
        self.fused |= {one.item_id: one for one in new}

    @rule(item_id=ids)
    def delete_item(self, item_id: str) -> None:
        assert self.catalogue.delete_item(item_id) == (item_id in self.items)
        self.items.pop(item_id, None)
        self.fused.pop(item_id, None)
        self.log = {key: one for key, one in self.log.items() if one.item_id != item_id}

    @rule(user_id=ids)
    def delete_user(self, user_id: str) -> None:
        gone = {key for key in self.log if key[0] == user_id}
        assert self.catalogue.delete_user(user_id) == len(gone)
        self.log = {key: one for key, one in self.log.items() if key not in gone}

    @rule(user_id=ids, before=st.none() | st.integers(0, 6))
    def read_history(self, user_id: str, before: int | None) -> None:
        mine = [
            one
            for one in self.log.values()
            if one.user_id == user_id and (before is None or one.position < before)
        ]
        mine.sort(key=lambda one: (one.position, one.item_id))
        assert self.catalogue.history(user_id, before) == mine

    @rule(some=st.lists(ids, max_size=4))
    def read_some(self, some: list[str]) -> None:
        assert self.catalogue.items(some) == {i: self.items[i] for i in some if i in self.items}
        kept = {i: self.fused[i] for i in some if i in self.fused}
        assert self.catalogue.representations(some) == kept

    @invariant()
    def holds_the_same(self) -> None:
        assert self.catalogue.items() == self.items
        assert self.catalogue.item_ids() == sorted(self.items)
        assert self.catalogue.representations() == self.fused
        assert self.catalogue.user_ids() == sorted({user for user, _ in self.log})
        frame = self.catalogue.interactions_frame()
        assert {(row["user_id"], row["item_id"]): row for row in frame.to_dicts()} == {
            key: one.model_dump() for key, one in self.log.items()
        }
        counts = (self.catalogue.item_count(), self.catalogue.interaction_count())
        assert counts == (len(self.items), len(self.log))
        assert self.catalogue.user_count() == len({user for user, _ in self.log})
        assert self.catalogue.representation_count() == len(self.fused)
        assert self.catalogue.fallback_count() == sum(one.fallback for one in self.fused.values())
        times = [one.timestamp for one in self.log.values() if one.timestamp is not None]
        assert self.catalogue.newest_timestamp() == max(times, default=None)


def test_the_catalogue_is_as_good_as_dicts(catalogue: Catalogue) -> None:
    few = settings(max_examples=15, stateful_step_count=12)

    class OnThisDatabase(CatalogueIsAsGoodAsDicts):
        def __init__(self) -> None:
            super().__init__(catalogue)

    run_state_machine_as_test(OnThisDatabase, settings=few)


def test_ten_thousand_ids_are_asked_for_at_once(catalogue: Catalogue) -> None:
    catalogue.put_items(Item(item_id=str(number)) for number in range(12_000))
    assert len(catalogue.items(str(number) for number in range(40_000))) == 12_000


def test_an_empty_catalogue_gives_an_empty_frame_with_its_types(catalogue: Catalogue) -> None:
    frame = catalogue.interactions_frame()
    assert frame.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "position": pl.Int64,
        "rating": pl.Float64,
        "timestamp": pl.Int64,
    }


def test_a_failing_write_leaves_nothing(catalogue: Catalogue) -> None:
    def broken() -> Iterator[Interaction]:
        yield Interaction(user_id="u", item_id="1", position=0)
        raise RuntimeError("the reader broke")

    with pytest.raises(RuntimeError):
        catalogue.put_shop([Item(item_id="1")], broken())
    assert catalogue.item_count() == catalogue.interaction_count() == 0


def test_one_reads_while_another_writes(database: str) -> None:
    with closing(Catalogue.open(database)) as writer, closing(Catalogue.open(database)) as reader:
        writer.put_items([Item(item_id="old")])
        seen: list[str] = []
        writer.put_shop(
            [Item(item_id="new")], (), wrote=lambda rows: seen.extend(reader.item_ids())
        )
        assert seen == ["old"]
        assert reader.item_ids() == ["new", "old"]


@pytest.mark.parametrize(
    "url", ["nonsense", "sqlite:////nowhere/at/all.sqlite", "mystery://u:secret@host/x"]
)
def test_a_database_that_does_not_open_says_so_without_the_password(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        Catalogue.open(url)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_text("not a database, but a text of more than sixteen bytes\n" * 100)
    with pytest.raises(StoreError, match=r"c\.sqlite.*not a database"):
        Catalogue.open(f"sqlite:///{path}")


@pytest.mark.parametrize("name", ["items", "interactions", "representations"])
def test_the_upsert_is_one_that_postgresql_knows(name: str) -> None:
    table = tables._TABLES.tables[name]
    dialect = make_url("postgresql://").get_dialect()()
    compiled = str(upsert_statement("postgresql", table).compile(dialect=dialect))
    assert "ON CONFLICT (" in compiled
    assert "DO UPDATE SET" in compiled


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.text(max_size=5), max_size=20))
def test_ids_of_any_kind_are_safe_to_ask_for(catalogue: Catalogue, asked: list[str]) -> None:
    assert catalogue.items(one for one in asked if one.isprintable()) == {}


def test_a_database_that_another_process_holds_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mllm_srec.store.sql.BUSY_S", 0.01)
    path = tmp_path / "catalogue.sqlite"
    with (
        closing(Catalogue.open(f"sqlite:///{path}")) as catalogue,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="held by another process: try again"):
            catalogue.put_items([Item(item_id="a", title="A")])
