import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mllm_srec.finetune.data.splits import Split
from mllm_srec.finetune.evaluation.list_measures import ItemFacts, list_figures
from mllm_srec.store.records import FusedItem

# Four items, chosen by 8, 4, 1 and no users of 8.
ITEMS = ("a", "b", "c", "d")
ROWS = [
    (f"u{user}", item)
    for item, users in zip("abc", (8, 4, 1), strict=True)
    for user in range(users)
]
TRAIN = pl.DataFrame(ROWS, schema=["user_id", "item_id"], orient="row")
SPLIT = Split(TRAIN, (), (), ITEMS, tuple(TRAIN["user_id"].unique()))
FUSED = {
    "a": FusedItem(what="ball", seen={"colour": "red"}),
    "b": FusedItem(what="ball", seen={"colour": "blue"}),
    "c": FusedItem(what="kite", seen={"colour": "red"}),
    "d": FusedItem(what="kite", seen={"colour": "red"}),
}
FACTS = ItemFacts.of(SPLIT, FUSED)


def rows(*lists: list[int]) -> NDArray[np.int64]:
    return np.array(lists, np.int64)


def measured(lists: NDArray[np.int64], *histories: list[int]) -> dict[str, float]:
    return list_figures(lists, [np.array(one, np.int64) for one in histories], FACTS)


def test_measures_agree_with_values_worked_out_by_hand() -> None:
    found = measured(rows([0, 1], [0, 2]), [0], [0])
    assert found["coverage@10"] == 3 / 4
    # Self-information 0, 1, 0 and 3 bits.
    assert found["novelty@10"] == pytest.approx((0 + 1 + 0 + 3) / 4)
    # ball red / ball blue and ball red / kite red share one of three values.
    assert found["diversity@10"] == pytest.approx(1 - 1 / 3)
    # Lists of mean popularity 6 and 4.5 for histories of 8.
    assert found["popularity_lift@10"] == pytest.approx((6 + 4.5) / 2 / 8 - 1)


def test_lists_of_the_history_s_own_types_are_calibrated() -> None:
    assert measured(rows([0, 1]), [0, 1])["miscalibration@10"] == pytest.approx(0, abs=1e-12)
    assert measured(rows([0, 2]), [1, 3])["miscalibration@10"] == pytest.approx(0, abs=1e-12)
    # All balls for kites: only the smoothing's hundredth is left.
    assert measured(rows([0, 1]), [2])["miscalibration@10"] == pytest.approx(np.log(100))


def test_an_item_that_nobody_chose_is_as_new_as_one_chosen_once() -> None:
    assert measured(rows([3, 2]), [0])["novelty@10"] == 3


def test_equal_items_are_no_diversity_and_short_lists_count_for_what_they_hold() -> None:
    assert measured(rows([2, 3, -1]), [0])["diversity@10"] == 0
    short = measured(rows([2, -1, -1]), [0])
    assert short["coverage@10"] == 1 / 4
    assert short["diversity@10"] == 0


def test_without_descriptions_only_what_needs_none_is_measured() -> None:
    facts = ItemFacts.of(SPLIT, {"a": FUSED["a"]})
    found = list_figures(rows([0, 1]), [np.array([0])], facts)
    assert set(found) == {"coverage@10", "novelty@10", "popularity_lift@10"}
    assert list_figures(rows(), [], facts) == {}


@given(hnp.arrays(np.int64, (5, 4), elements=st.integers(-1, 3)))
def test_any_lists_stay_within_the_bounds(lists: NDArray[np.int64]) -> None:
    lists[:, 0] = 0
    found = measured(lists, *([0, 2] for _ in range(5)))
    assert 0 < found["coverage@10"] <= 1
    assert 0 <= found["novelty@10"] <= 3
    assert 0 <= found["diversity@10"] <= 1
    assert found["popularity_lift@10"] >= -1
    assert found["miscalibration@10"] >= -1e-12


def test_where_nothing_is_listed_nothing_is_measured_as_nan() -> None:
    found = measured(rows([-1, -1]), [0])
    assert set(found.values()) == {0.0}
