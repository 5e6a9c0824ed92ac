import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllm_srec.store.errors import InputError
from mllm_srec.store.home import Home
from mllm_srec.store.intake import IntakeReport, check_files, load_shop
from mllm_srec.store.records import MAX_TITLE
from tests.store.conftest import NOW, picture

Write = Callable[..., Path]
Row = dict[str, Any]


def item(item_id: str, **more: object) -> Row:
    return {"item_id": item_id, "title": f"Item {item_id}", **more}


def act(user_id: object, item_id: str, **more: object) -> Row:
    return {"user_id": user_id, "item_id": item_id, **more}


@pytest.fixture
def load(home: Home, write_rows: Write) -> Callable[..., IntakeReport]:
    def run(items: list[object], log: list[object], **options: Any) -> IntakeReport:
        return load_shop(
            home,
            items=write_rows("shop/items.jsonl", *items),
            interactions=write_rows("shop/log.jsonl", *log),
            now=NOW,
            **options,
        )

    return run


Load = Callable[..., IntakeReport]


def rejects(report: IntakeReport) -> list[Row]:
    assert report.reject_file is not None
    return [json.loads(line) for line in report.reject_file.read_text("utf-8").splitlines()]


def stored(home: Home) -> dict[str, list[str]]:
    users = home.catalogue.user_ids()
    return {user: [one.item_id for one in home.catalogue.history(user)] for user in users}


def test_a_shop_is_taken(home: Home, load: Load) -> None:
    log = [act("u", "2", timestamp=20, rating=4), act("u", "1", timestamp=10), act(7, "1")]
    report = load([item("1"), item("2")], log)
    assert report == IntakeReport(
        items=2, interactions=3, users=2, repeats=0, partly_timed_users=0, untimed_rows=0,
        rejected=0, pictures_rejected=0, texts_cut=0, items_left_out=0, interactions_left_out=0,
        reject_file=None,
    )  # fmt: skip
    assert stored(home) == {"u": ["1", "2"], "7": ["1"]}
    assert [one.position for one in home.catalogue.history("u")] == [0, 1]


def test_what_is_bad_goes_to_the_reject_file_and_the_rest_is_taken(home: Home, load: Load) -> None:
    items = [item("1"), item("1", title="again"), item("2"), item("3", price="x"), item("4")]
    log = [
        act("u", "1", timestamp=5),
        act("u", "9"),
        act("u", "3"),
        act("u", "1", rating=1),
        act("u", "2", timestamp=NOW + 10),
        act("u", "2", timestamp=6),
        act("u", "4", timestamp=7),
        act("v", "4"),
    ]
    report = load(items, log)
    assert (report.items, report.interactions, report.users, report.rejected) == (3, 4, 2, 5)
    assert report.repeats == 1
    assert [(row["line"], row["field"], row["kind"]) for row in rejects(report)] == [
        (2, "item_id", "row"),
        (4, "price", "row"),
        (2, "item_id", "row"),
        (3, "item_id", "row"),
        (5, "timestamp", "row"),
    ]
    assert [row["reason"] for row in rejects(report)][2] == "no such item: '9'"
    taken = home.catalogue.item("1")
    assert taken is not None
    assert taken.title == "Item 1"
    assert stored(home) == {"u": ["1", "2", "4"], "v": ["4"]}


def test_more_bad_rows_than_allowed_stop_before_anything_is_written(home: Home, load: Load) -> None:
    load([item("old")], [act("u", "old")])
    before = sorted(home.path.rglob("*"))
    good, bad = [item("1")], [{"title": "no id"}, {"item_id": "2", "price": -1}]
    with pytest.raises(
        InputError, match=r"2 of 3 rows .*nothing was written.*line 2, item_id: missing"
    ):
        load(good + bad, [act("u", "1")])
    with pytest.raises(InputError, match="2 of 3 rows"):
        load([item("1")], [act("u", "1"), act("u", "2"), act("u", "3")])
    assert sorted(home.path.rglob("*")) == before
    assert stored(home) == {"u": ["old"]}
    assert home.catalogue.item_ids() == ["old"]
    assert load(good + bad, [act("u", "1")], max_bad_share=0.7).rejected == 2


def test_half_of_the_rows_may_be_bad(load: Load) -> None:
    assert load([item("1"), item("1")], [act("u", "1"), act("u", "9")]).rejected == 2


def test_a_repeat_is_no_bad_row_and_the_first_of_them_is_taken(home: Home, load: Load) -> None:
    log = [act("u", "1", rating=2, timestamp=9), act("v", "1")]
    log += [act("u", "1", rating=5, timestamp=n) for n in range(8)]
    report = load([item("1")], log, max_bad_share=0)
    assert (report.interactions, report.repeats, report.rejected) == (2, 8, 0)
    assert report.reject_file is None
    assert [(one.rating, one.timestamp) for one in home.catalogue.history("u")] == [(2, 9)]


def test_a_title_of_100000_characters_is_cut_and_reported(home: Home, load: Load) -> None:
    report = load([item("1", title="x" * 100_000)], [act("u", "1")])
    assert (report.texts_cut, report.rejected) == (1, 0)
    assert [(row["field"], row["reason"], row["kind"]) for row in rejects(report)] == [
        ("title", "cut from 100,000 characters", "cut")
    ]
    taken = home.catalogue.item("1")
    assert taken is not None
    assert len(taken.title) == MAX_TITLE


def test_a_missing_title_is_allowed(home: Home, load: Load) -> None:
    assert load([{"item_id": "1"}, item("2")], [act("u", "1")]).items == 2


def test_escapes_in_texts_reach_neither_the_catalogue_nor_the_reject_file(
    home: Home, load: Load
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2Jsale\u202e"
    report = load(
        [item("1", title=evil), item("2", brand=evil), item(evil), item("3", price=evil)],
        [act("u", "1"), act("u", "2")],
    )
    assert [one.title + one.brand for one in home.catalogue.items().values()] == [
        "sale",
        "Item 2sale",
    ]
    assert report.reject_file is not None
    assert "\x1b" not in report.reject_file.read_text("utf-8")
    assert not any("\x1b" in row["reason"] or "\x07" in row["reason"] for row in rejects(report))


def test_pictures_are_kept_and_a_bad_one_rejects_itself_alone(
    home: Home, load: Load, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(picture())
    (folder / "2.jpg").write_bytes(picture(kind="PNG"))
    (folder / "text.jpg").write_text("I am a text")
    (folder / "cut.jpg").write_bytes(picture(size=(300, 300))[:400])
    (tmp_path / "outside.jpg").write_bytes(picture())
    named = ["1.jpg", "2.jpg", "text.jpg", "cut.jpg", "../outside.jpg", "http://127.0.0.1:1/1.jpg"]
    items = [item(str(number), image=name) for number, name in enumerate([*named, "gone.jpg", 5])]
    report = load([*items, item("none")], [act("u", "0")])
    assert (report.items, report.pictures_rejected, report.rejected) == (9, 6, 0)
    found = home.catalogue.items()
    assert [one.item_id for one in found.values() if one.picture] == ["0", "1"]
    assert home.pictures.load(found["0"].picture or "").size == (40, 30)
    assert {(row["line"], row["field"], row["kind"]) for row in rejects(report)} == {
        (line, "image", "picture") for line in range(3, 9)
    }


def test_pictures_lie_where_images_says(home: Home, load: Load, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(picture())
    report = load([item("1", image="1.jpg")], [act("u", "1")], images=tmp_path / "photos")
    assert report.pictures_rejected == 0


def test_a_pipe_is_not_read_before_it_is_taken_in(write_rows: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    check_files(write_rows("items.jsonl", item("1")), tmp_path / "pipe.jsonl", now=NOW)


def test_an_item_whose_picture_is_nan_has_none(home: Home, load: Load) -> None:
    report = load([item("1", image=float("nan"))], [act("u", "1")])
    assert (report.pictures_rejected, report.reject_file) == (0, None)


def test_a_limit_keeps_the_items_with_most_interactions(home: Home, load: Load) -> None:
    items = [item("a"), item("b"), item("c"), item("d"), {"price": "bad"}]
    log = [act("u", "b"), act("v", "b"), act("u", "c"), act("v", "d"), act("u", "a"), act("w", "a")]
    report = load(items, log, limit_items=2)
    assert (report.items, report.interactions, report.users) == (2, 4, 3)
    assert (report.items_left_out, report.interactions_left_out, report.left_out) == (2, 2, 4)
    assert report.rejected == 1
    assert stored(home) == {"u": ["b", "a"], "v": ["b"], "w": ["a"]}
    wider = load(items, log)
    assert (wider.items, wider.left_out) == (4, 0)
    assert stored(home) == {"u": ["b", "c", "a"], "v": ["b", "d"], "w": ["a"]}


def test_a_second_run_changes_nothing(home: Home, load: Load) -> None:
    shop = ([item("1"), item("2")], [act("u", "2", timestamp=2), act("u", "1", timestamp=1)])
    first = load(*shop)
    content = home.catalogue.items(), home.catalogue.interactions_frame().to_dicts()
    assert load(*shop) == first
    assert (home.catalogue.items(), home.catalogue.interactions_frame().to_dicts()) == content


def test_a_changed_item_replaces_the_old_one_and_new_interactions_are_added(
    home: Home, load: Load
) -> None:
    load([item("1"), item("2")], [act("u", "1", timestamp=10), act("u", "2", timestamp=30)])
    load(
        [item("1", title="New"), item("3")],
        [act("u", "3", timestamp=20), act("u", "2", timestamp=30)],
    )
    assert [one.title for one in home.catalogue.items().values()] == ["New", "Item 2", "Item 3"]
    assert stored(home) == {"u": ["1", "3", "2"]}


def test_items_may_come_without_interactions(home: Home, write_rows: Write) -> None:
    report = load_shop(home, items=write_rows("items.jsonl", item("1")), now=NOW)
    assert (report.items, report.interactions, report.users) == (1, 0, 0)


def test_progress_ends_with_done(load: Load) -> None:
    told: list[tuple[str, int, int | None]] = []
    load([item("1")], [act("u", "1")], progress=lambda *message: told.append(message))
    assert [stage for stage, _, _ in told] == [
        "items", "interactions", "writing", "writing", "done",
    ]  # fmt: skip
    assert told[-1] == ("done", 1, 1)
    assert told[-2] == ("writing", 2, 2)


def test_items_whose_fields_have_other_names_are_refused(home: Home, write_rows: Write) -> None:
    items = write_rows("items.csv", "item_id,name,cost", "1,Red ball,3", "2,Blue drum,4")
    with pytest.raises(InputError, match=r"nothing that describes its items: .*'title'"):
        load_shop(home, items=items, now=NOW)
    assert home.catalogue.item_ids() == []
