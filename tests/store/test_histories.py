import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.store.histories import in_time_order, merge, missing_times
from mllm_srec.store.readers import InteractionRow
from mllm_srec.store.records import Interaction


def row(item: str, position: int | None = None, timestamp: int | None = None) -> InteractionRow:
    return InteractionRow(1, "u", item, position, None, timestamp)


def order(history: list[Interaction]) -> str:
    assert [one.position for one in history] == list(range(len(history)))
    return "".join(one.item_id for one in history)


def test_the_position_decides_then_the_time_then_the_file() -> None:
    assert [r.item_id for r in in_time_order([row("a", 2, 1), row("b", 1, 2)])] == ["b", "a"]
    assert [r.item_id for r in in_time_order([row("a", 1, 9), row("b", None, 2)])] == ["b", "a"]
    assert [r.item_id for r in in_time_order([row("a", 1, 9), row("b")])] == ["a", "b"]
    assert [r.item_id for r in in_time_order([row("a", None, 5), row("b", None, 5)])] == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([row("a", None, 9), row("b"), row("c")], 2),
        ([row("a", 1, 9), row("b", None, None)], 1),
        ([row("a", 1, 9), row("b", 0)], 0),
        ([row("a", None, 9), row("b", None, 5)], 0),
        ([row("a"), row("b")], 0),
    ],
)
def test_times_are_missing_where_some_are_given_and_positions_do_not_decide(
    rows: list[InteractionRow], missing: int
) -> None:
    assert missing_times(rows) == missing


def test_a_later_file_is_added_by_time() -> None:
    stored = merge([], [row("a", timestamp=10), row("c", timestamp=30)])
    assert order(merge(stored, [row("b", timestamp=20), row("d", timestamp=40)])) == "abcd"


def test_a_later_file_without_times_is_added_behind() -> None:
    stored = merge([], [row("b"), row("a")])
    assert order(merge(stored, [row("a"), row("c")])) == "bac"


def test_a_file_with_all_that_is_stored_decides_the_order() -> None:
    stored = merge([], [row("b"), row("a")])
    assert order(merge(stored, [row("a"), row("b"), row("c")])) == "abc"


rows = st.lists(
    st.builds(
        row,
        st.sampled_from("abcdef"),
        st.none() | st.integers(0, 3),
        st.none() | st.integers(0, 3),
    ),
    unique_by=lambda one: one.item_id,
)


@given(st.lists(rows, max_size=3))
def test_nothing_is_lost_or_doubled_and_a_second_reading_changes_nothing(
    files: list[list[InteractionRow]],
) -> None:
    history: list[Interaction] = []
    for file in files:
        history = merge(history, file)
        assert merge(history, file) == history
    assert sorted(order(history)) == sorted({one.item_id for file in files for one in file})
