"""Whose a server's database is: one home's, by an id that stands on both sides."""

import json
import shutil
from pathlib import Path

import pytest

from mllm_srec.store.database import database_name
from mllm_srec.store.errors import HomeError
from mllm_srec.store.home import Home
from mllm_srec.store.records import Item
from tests.postgresql import PASSWORD, Server
from tests.store.conftest import run_at_once

OPEN = """
import sys
from mllm_srec.store.home import Home
home = Home.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
home.catalogue.item_ids()
"""


def folder(path: Path, url: str) -> Path:
    path.mkdir()
    (path / "srec.toml").write_text(f'database_url = "{url}"\n')
    return path


def fill(path: Path) -> None:
    with Home.open(path, create=True) as home:
        home.catalogue.put_items([Item(item_id="1")])


def test_a_second_home_on_a_database_is_refused_by_both_names(
    postgresql: Server, tmp_path: Path
) -> None:
    url = postgresql.empty()
    first, second = folder(tmp_path / "first", url), folder(tmp_path / "second", url)
    fill(first)
    with Home.open(second, create=True) as other:
        for member in ("catalogue", "steps", "feedback", "threads", "checkpoints_url"):
            with pytest.raises(HomeError, match="would overwrite each other") as refused:
                getattr(other, member)
            said = str(refused.value)
            assert str(first) in said
            assert str(second) in said
            assert PASSWORD not in said
    with Home.open(first) as home:
        assert home.catalogue.item_ids() == ["1"]


def test_homes_in_schemas_of_their_own_do_not_meet(postgresql: Server, tmp_path: Path) -> None:
    for name in ("first", "second"):
        fill(folder(tmp_path / name, postgresql.empty()))


def test_a_home_that_was_moved_keeps_its_database(postgresql: Server, tmp_path: Path) -> None:
    url = postgresql.empty()
    fill(folder(tmp_path / "old", url))
    (tmp_path / "old").rename(tmp_path / "new")
    for _ in range(2):
        with Home.open(tmp_path / "new") as home:
            assert home.catalogue.item_ids() == ["1"]
    with (
        Home.open(folder(tmp_path / "old", url), create=True) as other,
        pytest.raises(HomeError, match=r"'.*new', not of '.*old'"),
    ):
        _ = other.catalogue


def test_a_copy_of_a_home_is_refused_beside_it(postgresql: Server, tmp_path: Path) -> None:
    fill(folder(tmp_path / "home", postgresql.empty()))
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    with (
        Home.open(tmp_path / "copy") as copy,
        pytest.raises(HomeError, match=r"'.*home', '.*copy' is a copy of it"),
    ):
        _ = copy.catalogue


def test_a_home_from_before_there_were_ids_gets_one(postgresql: Server, tmp_path: Path) -> None:
    path = folder(tmp_path / "home", postgresql.empty())
    fill(path)
    postgresql.do("DROP TABLE " + (path / "srec.toml").read_text().split("%3D")[1][:-2] + ".home")
    mark = json.loads((path / "home.json").read_text())
    del mark["id"]
    (path / "home.json").write_text(json.dumps(mark))
    run_at_once(OPEN, *[[str(path)]] * 4)
    assert len(json.loads((path / "home.json").read_text())["id"]) == 32


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"postgresql://srec:{PASSWORD}@db.example:5433/shop", "'shop' at db.example:5433"),
        (f"postgresql://srec:{PASSWORD}@/shop?host=/run/pg", "'shop' at /run/pg"),
        ("postgresql:///shop", "'shop' at localhost"),
    ],
)
def test_a_database_is_named_without_user_and_password(url: str, name: str) -> None:
    assert database_name(url) == f"PostgreSQL: {name}"
