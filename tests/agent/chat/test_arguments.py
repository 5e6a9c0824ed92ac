"""The words after a command, read."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from mllm_srec.agent.chat.arguments import ItemNames, asked, file_path, how_many, picture, two_items
from mllm_srec.agent.chat.session import _Completer
from mllm_srec.store.home import Home
from mllm_srec.store.records import Item
from mllm_srec.tools.errors import CannotDo, WrongCall
from tests.tools.toy_shop import toy_home

LONG = "Comet walking stick for hikers, with a compass and a whistle, folding, black, 130 cm long"
COMMAS = {
    "c1": "Nail clipper, steel",
    "c2": "Salt and pepper, for two",
    "c3": "Brush with bristles, soft",
    "c4": "Red",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with toy_home(tmp_path_factory.mktemp("arguments") / "home") as opened:
        titles = {**COMMAS, "long": LONG}
        opened.catalogue.put_items(
            Item(item_id=item_id, title=title) for item_id, title in titles.items()
        )
        yield opened


@pytest.mark.parametrize(
    ("slots", "instead"),
    [
        ({"item": LONG}, "use its number or id"),
        ({"second": LONG}, "use its number or id"),
        ({"words": LONG}, "use fewer words"),
        ({"having": (LONG,)}, "use fewer words"),
    ],
)
def test_what_is_longer_than_a_turn_takes_is_a_wrong_call(
    slots: dict[str, Any], instead: str
) -> None:
    why = f"has {len(LONG)} characters, and a name at most 80 characters: {instead}"
    with pytest.raises(WrongCall, match=why):
        asked("why", **slots)
    assert asked("why", item=LONG[:80]).item == LONG[:80]


def test_of_a_title_too_long_the_id_is_offered(home: Home) -> None:
    completer = _Completer(SimpleNamespace(talks=SimpleNamespace(home=home)))  # type: ignore[arg-type]

    def offered(typed: str) -> list[tuple[str, str]]:
        found = completer.get_completions(Document(typed, len(typed)), CompleteEvent())
        return [(each.text, each.display_meta_text) for each in found]

    assert offered("/why comet w") == [("[long]", LONG)]
    assert offered("/why nail") == [("Nail clipper, steel", "c1")]


@pytest.mark.parametrize(
    ("words", "pair"),
    [
        ("", ("", "")),
        ("1 3", ("1", "3")),
        ("1, 3", ("1", "3")),
        ("b1 and t1", ("b1", "t1")),
        ("it with 2", ("it", "2")),
        ("bib and train", ("bib", "train")),
        ("Nail clipper, steel and 3", ("Nail clipper, steel", "3")),
        ("Nail clipper, steel, Maple train", ("Nail clipper, steel", "Maple train")),
        (f"{COMMAS['c2']} and {COMMAS['c3']}", (COMMAS["c2"], COMMAS["c3"])),
        (f"{COMMAS['c3']}, 1", (COMMAS["c3"], "1")),
        ("Maple train Atlas robot", ("Maple train", "Atlas robot")),
    ],
)
def test_two_items_are_parted_where_their_titles_end(
    home: Home, words: str, pair: tuple[str, str]
) -> None:
    assert two_items(home, words) == pair


def test_what_are_not_two_items_is_a_wrong_call(home: Home) -> None:
    with pytest.raises(WrongCall, match="'something' does not name two items"):
        two_items(home, "something")


def test_a_whole_title_names_an_item_and_a_value_of_the_shop_does_not(home: Home) -> None:
    assert all(
        words in ItemNames(home) for words in ("2", "the second", "t1", "[t1]", "maple  TRAIN")
    )
    assert not any(words in ItemNames(home) for words in ("", "red", "[red]", "Maple", "wool"))


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("", ("", "")),
        ("5", ("5", "")),
        ("half a dozen", ("half a dozen", "")),
        ("toys", ("", "toys")),
        ("five toys", ("five", "toys")),
        ("a dozen red toys", ("dozen", "red toys")),
        ("toys 5", ("5", "toys")),
        ("just twenty five", ("twenty five", "")),
    ],
)
def test_how_many_and_of_what_are_both_read(words: str, read: tuple[str, str]) -> None:
    assert how_many(words) == read


def test_two_numbers_are_no_length_of_a_list() -> None:
    with pytest.raises(WrongCall, match="'five toys under 20' has two numbers"):
        how_many("five toys under 20")


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("user's.png", "user's.png", ""),
        ("two words.png", "two words.png", ""),
        ("two words.png", "two words.png in blue", "in blue"),
        ("two words.png", '"two words.png" in blue', "in blue"),
        ("two words.png", r"two\ words.png in blue", "in blue"),
        ("it's two.png", '"it\'s two.png"', ""),
    ],
)
def test_a_picture_is_found_by_its_name_as_it_is_or_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, typed: str, said: str
) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / name, "PNG")
    monkeypatch.chdir(tmp_path)
    assert picture(typed) == ((tmp_path / name).read_bytes(), said)


def test_a_picture_that_is_not_there_is_told_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match="quotes do not end"):
        picture("user's.png")
    with pytest.raises(WrongCall, match="name a picture"):
        picture("")
    with pytest.raises(WrongCall, match="no name of a file"):
        picture("a\0b")
    for missing in ("gone.png", "~nobody-of-that-name/a.png", f"{'x' * 300} blue", str(tmp_path)):
        with pytest.raises(CannotDo, match="cannot be read"):
            picture(missing)
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(CannotDo, match=r"notes\.png': not a JPEG"):
        picture(str(tmp_path / "notes.png"))
    assert str(file_path("~nobody-of-that-name/a.md")) == "~nobody-of-that-name/a.md"
