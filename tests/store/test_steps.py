import hashlib
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mllm_srec.store.steps import StepCache
from tests.store.conftest import start

keys = st.integers(0, 5).map(lambda number: hashlib.sha256(bytes([number])).hexdigest())
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@pytest.fixture
def cache(database: str) -> Iterator[StepCache]:
    with closing(StepCache.open(database)) as opened:
        yield opened


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puts=st.lists(st.dictionaries(keys, texts, max_size=4), max_size=4), asked=st.lists(keys))
def test_the_cache_is_as_good_as_a_dict(
    cache: StepCache, puts: list[dict[str, str]], asked: list[str]
) -> None:
    cache.delete_owner("mia")
    expected: dict[str, str] = {}
    for put in puts:
        cache.put_many(put, owner="mia")
        expected |= put
    assert cache.get_many(asked) == {key: expected[key] for key in asked if key in expected}
    assert cache.count() == len(expected)


def test_results_outlive_the_process(database: str) -> None:
    with closing(StepCache.open(database)) as cache:
        cache.put_many({"0" * 64: "[1]"})
    with closing(StepCache.open(database)) as cache:
        assert cache.get_many(["0" * 64, "f" * 64]) == {"0" * 64: "[1]"}


FILL = """
import sys
from mllm_srec.store.steps import StepCache
cache = StepCache.open(sys.argv[1])
for number in range(100):
    cache.put_many({f"{number:064x}": sys.argv[2]})
"""


def test_two_processes_fill_one_cache(database: str) -> None:
    StepCache.open(database).close()
    running = [start(FILL, database, name) for name in "ab"]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    with closing(StepCache.open(database)) as cache:
        assert cache.count() == 100
