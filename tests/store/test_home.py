import json
import os
from pathlib import Path

import numpy as np
import pytest

from mllm_srec.store.errors import HomeBusy, HomeError, StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.home_mark import FORMAT, give_id, home_id, make_home
from mllm_srec.store.manifest import IndexFacts
from mllm_srec.store.records import Interaction, Item
from tests.store.conftest import picture, run_at_once, start


def test_a_home_is_made_once_and_opened_again(tmp_path: Path) -> None:
    with Home.open(tmp_path / "a" / "home", create=True) as home:
        home.catalogue.put_items([Item(item_id="1")])
    with Home.open(tmp_path / "a" / "home") as home:
        assert home.catalogue.item_ids() == ["1"]


def test_a_home_that_another_process_has_just_made_keeps_its_id(tmp_path: Path) -> None:
    make_home(tmp_path)
    give_id(tmp_path, "ab" * 16)
    make_home(tmp_path)
    assert home_id(tmp_path) == "ab" * 16


def test_a_missing_home_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="srec ingest"):
        Home.open(tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, create: bool) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    tmp_path.chmod(0o755)
    with pytest.raises(HomeError):
        Home.open(tmp_path, create=create)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "mark", ["", "[]", "null", "{}", '{"kind": "other", "format": 1}', '{"kind": 1, "format": []}']
)
def test_a_home_json_of_another_program_is_refused(tmp_path: Path, mark: str) -> None:
    (tmp_path / "home.json").write_text(mark)
    with pytest.raises(HomeError):
        Home.open(tmp_path, create=True)


def test_a_file_in_the_place_of_a_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeError, match="is a file"):
        Home.open(tmp_path / "home", create=True)


@pytest.mark.parametrize("place", ["/proc/home", "/dev/null/home", "x" * 300])
@pytest.mark.parametrize("create", [True, False])
def test_a_home_that_cannot_be_there_is_refused_in_one_line(
    tmp_path: Path, place: str, create: bool
) -> None:
    with pytest.raises(HomeError, match=r"give --home a folder in which|no home at"):
        Home.open(tmp_path / place, create=create)


def test_a_home_that_cannot_be_found_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for place in (tmp_path / "circle", Path("~nobody-of-that-name/home")):
        with pytest.raises(HomeError, match=r"cannot be found .*give --home a folder"):
            Home.open(place, create=True)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("pictures", "pictures"),
        ("vectors", "representations"),
        ("rejects", "rejects_path"),
        ("traces", "traces_file"),
    ],
)
def test_a_file_where_a_folder_of_the_home_belongs_is_named(
    home: Home, name: str, member: str
) -> None:
    (home.path / name).write_text("")
    with pytest.raises(StoreError, match=rf"/{name}' is a file.*move the file away"):
        getattr(home, member)


def test_a_home_in_which_nobody_may_write_says_so(home: Home) -> None:
    (home.path / "lock").mkdir()
    with pytest.raises(HomeError, match=r"cannot be written to \(Is a directory.*make it writable"):
        home.catalogue.put_items([Item(item_id="1")])


def test_a_home_of_a_newer_format_is_refused(home: Home) -> None:
    mark = {"kind": "mllm-srec home", "format": FORMAT + 1}
    (home.path / "home.json").write_text(json.dumps(mark))
    with pytest.raises(HomeError, match="upgrade mllm-srec"):
        Home.open(home.path)


def test_a_home_whose_making_was_killed_is_completed(tmp_path: Path) -> None:
    (tmp_path / "home.json.123.partial").write_text('{"ki')
    Home.open(tmp_path, create=True).close()
    Home.open(tmp_path).close()


def test_everything_in_a_home_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Home.open(tmp_path / "home", create=True) as home:
            home.catalogue.put_items([Item(item_id="1")])
            home.steps.put_many({"0" * 64: "{}"})
            home.write_setting("weights", {"score": 0.5})
            folders = [
                home.path,
                home.traces_file.parent,
                home.rejects_path,
                home.path / "settings",
            ]
            files = [path for path in home.path.rglob("*") if path.is_file()]
            assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
            assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    finally:
        os.umask(before)


def test_a_home_that_was_opened_to_others_is_closed_again(home: Home) -> None:
    home.path.chmod(0o755)
    Home.open(home.path).close()
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_settings_are_read_as_they_were_written(home: Home) -> None:
    assert home.read_setting("combine") is None
    home.write_setting("combine", {"score": 0.25, "name": "ä"})
    home.write_setting("combine", {"score": 0.75})
    assert home.read_setting("combine") == {"score": 0.75}


def test_a_broken_setting_names_its_file(home: Home) -> None:
    home.write_setting("combine", {})
    for broken in ("{", "[1]"):
        (home.path / "settings" / "combine.json").write_text(broken)
        with pytest.raises(StoreError, match=r"combine\.json"):
            home.read_setting("combine")


def test_a_setting_cannot_lie_outside_the_home(home: Home) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        home.write_setting("../evil", {})


def test_the_lock_nests_and_then_opens(home: Home) -> None:
    with home.lock(), home.lock():
        home.catalogue.put_items([Item(item_id="1")])
    with Home.open(home.path) as other, other.lock():
        pass


HOLD = """
import sys
from mllm_srec.store.home import Home
with Home.open(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_writes(home: Home) -> None:
    with start(HOLD, home.path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for write in (
            lambda: home.catalogue.put_items([Item(item_id="1")]),
            lambda: home.catalogue.delete_item("1"),
            lambda: home.delete_user("u"),
        ):
            with pytest.raises(HomeBusy, match=f"process {holder.pid} writes"):
                write()
        assert home.catalogue.item_ids() == []
        home.steps.put_many({"0" * 64: "{}"})  # what the model answered is kept all the same
        holder.kill()
    home.catalogue.put_items([Item(item_id="1")])  # the lock of a killed process is open


def test_an_item_is_deleted_with_all_that_hangs_on_it(home: Home) -> None:
    facts = IndexFacts("srec-tiny", "m", "p", "i", 4)
    home.representations.use(facts)
    home.representations.put(["1", "2"], np.eye(2, 4, dtype=np.float32))
    home.catalogue.put_items([Item(item_id="1"), Item(item_id="2")])
    home.catalogue.put_interactions([Interaction(user_id="u", item_id="1", position=0)])
    assert home.delete_item("1")
    assert not home.delete_item("1")
    assert home.catalogue.item_ids() == ["2"]
    assert home.catalogue.history("u") == []
    assert home.representations.ids() == {"2"}


def test_a_users_data_is_deleted_everywhere_in_the_databases(home: Home) -> None:
    home.catalogue.put_items([Item(item_id="1")])
    home.catalogue.put_interactions(
        [Interaction(user_id=user, item_id="1", position=0) for user in ("ann", "bob")]
    )
    home.steps.put_many({"a" * 64: '"ann likes red"'}, owner="ann")
    home.steps.put_many({"b" * 64: '"bob likes blue"'}, owner="bob")
    assert home.delete_user("ann") == 1
    assert home.catalogue.user_ids() == ["bob"]
    assert home.steps.get_many(["a" * 64, "b" * 64]) == {"b" * 64: '"bob likes blue"'}


def test_a_users_pictures_are_deleted_but_for_those_that_others_need(home: Home) -> None:
    mine, theirs, shown = (
        home.pictures.add(picture(colour), giver="ann") for colour in ("red", "blue", "green")
    )
    assert home.pictures.add(picture("blue"), giver="bob") == theirs
    home.catalogue.put_items([Item(item_id="1", picture=shown)])
    home.delete_user("ann")
    assert [key in home.pictures for key in (mine, theirs, shown)] == [False, True, True]
    home.delete_user("bob")
    assert [key in home.pictures for key in (mine, theirs, shown)] == [False, False, True]


def test_a_closed_home_can_be_moved(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home", create=True)
    home.catalogue.put_items([Item(item_id="1")])
    home.close()
    home.close()
    (tmp_path / "home").rename(tmp_path / "moved")
    with Home.open(tmp_path / "moved") as moved:
        assert moved.catalogue.item_count() == 1


OPEN = """
import asyncio, sys
from mllm_srec.agent.conversation.checkpoints import open_saver
from mllm_srec.store.home import Home
from mllm_srec.store.traces import TraceStore

async def open_memory(home):
    await (await open_saver(home.checkpoints_url)).conn.close()

print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    with Home.open(f"{sys.argv[1]}/{number}", create=True) as home:
        home.catalogue, home.steps, home.feedback, home.threads
        TraceStore.open(home.traces_file).close()
        asyncio.run(open_memory(home))
"""


def test_processes_that_open_a_new_home_at_once_all_get_it(tmp_path: Path) -> None:
    run_at_once(OPEN, *[[str(tmp_path)]] * 4)
