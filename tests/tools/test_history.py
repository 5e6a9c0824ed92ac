"""What a user did: shown, added to, taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mllm_srec.store.errors import HomeBusy
from mllm_srec.store.home import Home
from mllm_srec.store.records import Interaction
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.history import add_to_history, history, remove_from_history

from .toy_shop import toy_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with toy_home(tmp_path / "home") as opened:
        yield opened


def test_history_is_shown_added_to_and_taken_back(home: Home) -> None:
    added = add_to_history(home, "mia", "s1", rating=5, clock=lambda: 2_000)
    assert (added.position, added.timestamp) == (2, 2_000)
    assert [line.item_id for line in history(home, "mia", count=2)] == ["t1", "s1"]
    assert remove_from_history(home, "mia", "s1") == added
    with pytest.raises(CannotDo, match=r"\[s1\] is not in your history"):
        remove_from_history(home, "mia", "s1")
    with pytest.raises(WrongCall, match="'x'"):
        add_to_history(home, "mia", "x")
    with pytest.raises(WrongCall, match="rating is nan"):
        add_to_history(home, "mia", "s1", rating=float("nan"))


def test_a_rating_is_on_the_scale_of_the_log_which_is_1_to_5_or_wider(home: Home) -> None:
    for rating in (99, 0.5, -1):
        with pytest.raises(WrongCall, match=f"rating is {rating}: give 1 to 5, or none"):
            add_to_history(home, "mia", "s1", rating=rating)
    of_ten = Interaction(user_id="ann", item_id="t1", position=0, rating=10)
    home.catalogue.put_interactions([of_ten])
    assert add_to_history(home, "mia", "s1", rating=8).rating == 8
    with pytest.raises(WrongCall, match="give 1 to 10"):
        add_to_history(home, "mia", "s1", rating=99)


def test_no_other_process_takes_the_same_place_in_a_history(home: Home) -> None:
    def another_adds() -> float:
        with Home.open(home.path) as other, pytest.raises(HomeBusy):
            add_to_history(other, "mia", "s2", clock=lambda: 2_000)
        return 2_000

    assert add_to_history(home, "mia", "s1", clock=another_adds).position == 2


@pytest.mark.parametrize("count", [-1, 0, 101])
def test_1_to_100_interactions_are_shown(home: Home, count: int) -> None:
    with pytest.raises(WrongCall, match=f"count is {count}: ask for 1 to 100 items"):
        history(home, "mia", count=count)
    assert len(history(home, "mia", count=100)) == 2
