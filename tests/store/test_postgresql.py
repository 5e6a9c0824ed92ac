"""What a database server can do that a file cannot: refuse, cut off, wait for itself."""

import sys
from contextlib import closing

import pytest

from mllm_srec.store.catalogue import Catalogue
from mllm_srec.store.errors import StoreError
from mllm_srec.store.records import Item
from mllm_srec.store.steps import StepCache
from tests.postgresql import PASSWORD, Server
from tests.store.conftest import run_at_once

OPEN = """
import sys
from mllm_srec.store.feedback import FeedbackStore
print("ready", flush=True)
sys.stdin.readline()
for url in sys.argv[1:]:
    FeedbackStore.open(url).close()
"""
PUT = """
import sys
from mllm_srec.store.steps import StepCache
cache = StepCache.open(sys.argv[1])
keys = [f"{number:064x}" for number in range(1_000)]
if sys.argv[2] == "b":
    keys.reverse()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    cache.put_many({key: sys.argv[2] for key in keys})
"""


def test_ids_are_in_the_order_of_python(database: str) -> None:
    ids = ["a", "B", "é", "a b", "_", "1", "10", "2"]
    with closing(Catalogue.open(database)) as catalogue:
        catalogue.put_items(Item(item_id=each) for each in ids)
        assert catalogue.item_ids() == sorted(ids)


def test_processes_that_open_a_new_database_at_once_all_get_it(postgresql: Server) -> None:
    urls = [postgresql.empty() for _ in range(8)]
    run_at_once(OPEN, *[urls] * 3)


def test_processes_that_put_the_same_results_do_not_wait_for_each_other(
    postgresql: Server,
) -> None:
    url = postgresql.empty()
    StepCache.open(url).close()
    run_at_once(PUT, [url, "a"], [url, "b"])


def test_a_store_outlives_a_restart_of_the_server(postgresql: Server) -> None:
    with closing(StepCache.open(postgresql.empty())) as cache:
        cache.put_many({"0" * 64: "[1]"})
        postgresql.cut()
        assert cache.get_many(["0" * 64]) == {"0" * 64: "[1]"}


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_refusal_is_one_line_without_the_password(postgresql: Server, password: str) -> None:
    with pytest.raises(StoreError, match="password") as refused:
        Catalogue.open(postgresql.url(password=password))
    assert "wrong" not in str(refused.value)


def test_a_server_that_is_away_is_named_without_the_password() -> None:
    with pytest.raises(StoreError, match="port 9 failed: Connection refused") as refused:
        Catalogue.open(f"postgresql://srec:{PASSWORD}@127.0.0.1:9/shop")
    assert "\\" not in str(refused.value)  # not a line break in disguise either
    assert PASSWORD not in str(refused.value)


def test_what_postgresql_cannot_keep_is_refused_whole(postgresql: Server) -> None:
    with closing(Catalogue.open(postgresql.empty())) as catalogue:
        with pytest.raises(StoreError, match="NUL"):
            catalogue.put_items([Item(item_id="1"), Item(item_id="2", title="a\0b")])
        assert catalogue.item_ids() == []


def test_without_the_driver_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'mllm-srec\[postgres\]'"):
        Catalogue.open("postgresql://srec@127.0.0.1:9/shop")
