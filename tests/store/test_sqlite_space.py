import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mllm_srec.store import sqlite_files
from mllm_srec.store.errors import StoreError
from mllm_srec.store.sqlite_files import disk_bytes, vacuum_file


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A file of whose rows all were deleted."""
    with closing(sqlite3.connect(tmp_path / "kept.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE rows (content)")
        connection.executemany("INSERT INTO rows VALUES (?)", [(bytes(4_000),)] * 100)
        connection.execute("DELETE FROM rows")
        yield connection


def test_free_pages_and_the_log_are_given_back(kept: sqlite3.Connection, tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    assert disk_bytes(path) > 400_000
    vacuum_file(path)
    assert disk_bytes(path) < 100_000


def test_a_file_that_is_being_written_is_named(
    kept: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "BUSY_S", 0.0)
    kept.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"kept\.sqlite' could not be made smaller .*: close what"):
        vacuum_file(tmp_path / "kept.sqlite")
