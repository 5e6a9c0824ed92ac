from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllm_srec.finetune.data.splits import (
    CUTS,
    Split,
    SplitError,
    find_leaks,
    sample_cases,
    shuffle_days,
    split_by_time,
    split_by_user,
)
from mllm_srec.store.records import DAY_S, Interaction

ITEMS = [f"i{n}" for n in range(10)]


def log(users: dict[str, str], ratings: dict[str, list[float]] | None = None) -> pl.DataFrame:
    """A log in which each digit of a user is an item, one a day from day 0."""
    rows = [
        {
            "user_id": user,
            "item_id": f"i{digit}",
            "position": position,
            "rating": ratings[user][position] if ratings else None,
            "timestamp": position * DAY_S,
        }
        for user, digits in users.items()
        for position, digit in enumerate(digits)
    ]
    kinds = {"user_id": pl.String, "item_id": pl.String, "position": pl.Int64}
    return pl.DataFrame(rows, schema=kinds | {"rating": pl.Float64, "timestamp": pl.Int64})


def held(history: tuple[Interaction, ...]) -> str:
    return "".join(one.item_id[1:] for one in history)


def trained(split: Split, user: str) -> str:
    rows = split.train.filter(pl.col("user_id") == user).sort("position")
    return "".join(item[1:] for item in rows["item_id"])


def test_the_last_two_interactions_are_held_out() -> None:
    split = split_by_user(log({"u": "01234"}), ITEMS)
    [validation], [test] = split.validation, split.test
    assert (validation.target, held(validation.history)) == ("i3", "012")
    assert (test.target, held(test.history)) == ("i4", "0123")
    assert trained(split, "u") == "012"
    assert (test.training, test.position) == (3, 4)


def test_targets_are_liked_and_histories_keep_what_was_not() -> None:
    frame = log({"u": "012345"}, {"u": [5, 5, 4, 1, 5, 2]})
    split = split_by_user(frame, ITEMS, min_rating=4.0)
    [validation], [test] = split.validation, split.test
    assert (validation.target, held(validation.history)) == ("i2", "01")
    assert (test.target, held(test.history)) == ("i4", "0123")
    assert trained(split, "u") == "01"


def test_several_targets_of_a_user_follow_each_other_and_validation_stands_before_them() -> None:
    split = split_by_user(log({"u": "01234567", "v": "012"}), ITEMS, targets=3)
    assert [(case.target, held(case.history)) for case in split.test] == [
        ("i5", "01234"),
        ("i6", "012345"),
        ("i7", "0123456"),
        # Who has fewer likes gives fewer targets.
        ("i2", "01"),
    ]
    assert [case.target for case in split.validation] == ["i4", "i1"]
    assert (trained(split, "u"), trained(split, "v")) == ("0123", "0")
    assert not find_leaks(split)
    with pytest.raises(SplitError, match="at least one"):
        split_by_user(log({"u": "012"}), ITEMS, targets=0)


def test_users_are_drawn_with_all_their_cases() -> None:
    frame = log(dict.fromkeys("abcdefgh", "0123456"))
    cases = split_by_user(frame, ITEMS, targets=3).test
    drawn = sample_cases(cases, 2, seed=1)
    assert len(drawn) == 6
    assert len({case.user_id for case in drawn}) == 2
    assert drawn == sample_cases(cases, 2, seed=1)
    assert sample_cases(cases, 8) == sample_cases(cases, None) == list(cases)


def test_an_item_met_before_is_no_target() -> None:
    [test] = split_by_user(log({"u": "01230"}), ITEMS).test
    assert test.target == "i3"


def test_a_user_with_nothing_before_the_targets_is_training_alone() -> None:
    split = split_by_user(log({"u": "01", "v": "2"}), ITEMS)
    assert not split.validation
    assert not split.test
    assert (trained(split, "u"), trained(split, "v")) == ("01", "2")


def test_one_to_three_training_interactions_are_cold() -> None:
    split = split_by_user(log({"u": "01234", "v": "012345"}), ITEMS)
    assert [case.cold for case in split.test] == [True, False]


def test_items_outside_the_catalogue_are_left_out() -> None:
    [test] = split_by_user(log({"u": "01234"}), ITEMS[:4]).test
    assert (test.target, held(test.history)) == ("i3", "012")


def test_what_others_bring_in_later_was_not_there_for_a_case() -> None:
    frame = log({"u": "0123", "v": "4567898"})
    split = split_by_user(frame, ITEMS)
    [case] = [one for one in split.validation if one.user_id == "u"]
    # It asks on day 2. Items 7 and 9 come on day 3 and 5; 3 is held out: nobody named it before.
    known = [item for item in ITEMS if split.knew(item, case)]
    assert known == ["i0", "i1", "i4", "i5", "i6"]
    without = split_by_user(frame.with_columns(timestamp=pl.lit(None, pl.Int64)), ITEMS)
    assert all(without.knew(item, case) for item in ITEMS)


def test_a_time_split_cuts_the_whole_log() -> None:
    split = split_by_time(log({"u": "0123456789", "v": "65432108"}), ITEMS)
    assert split.train["timestamp"].max() == 6 * DAY_S
    assert [(case.user_id, case.target) for case in split.validation] == [("u", "i7"), ("v", "i8")]
    [test] = split.test
    assert (test.target, held(test.history), test.training) == ("i9", "012345678", 7)
    assert split.cold_items == {"i7", "i8", "i9"}


def test_an_item_without_interactions_before_the_cut_is_cold() -> None:
    split = split_by_time(log({"u": "0123456789"}), ITEMS)
    assert split.cold_items == {"i8", "i9"}


@settings(max_examples=100)
@given(
    users=st.dictionaries(
        st.sampled_from("uvwx"),
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5 * DAY_S)), max_size=12),
        min_size=1,
    ),
    shuffled=st.booleans(),
)
def test_a_time_split_trains_on_nothing_after_the_cut_whatever_the_order_of_the_times(
    users: dict[str, list[tuple[int, int]]], shuffled: bool
) -> None:
    rows = [
        {"user_id": user, "item_id": f"i{item}", "position": position, "timestamp": time}
        for user, did in users.items()
        for position, (item, time) in enumerate(did)
    ]
    kinds = {"user_id": pl.String, "item_id": pl.String, "position": pl.Int64}
    frame = pl.DataFrame(rows, schema=kinds | {"timestamp": pl.Int64})
    split = split_by_time(shuffle_days(frame, seed=1) if shuffled else frame, ITEMS)
    assert not find_leaks(split)
    first, second = (frame["timestamp"].quantile(cut, "higher") or 0 for cut in CUTS)
    assert (split.train["timestamp"] < first).all()
    asked = [one for case in split.validation for one in case.history]
    assert all((one.timestamp or 0) < second for one in asked)


def test_a_time_split_without_times_is_refused() -> None:
    with pytest.raises(SplitError, match="split by user"):
        split_by_time(log({"u": "012"}).drop("timestamp"), ITEMS)
    with pytest.raises(SplitError, match="published"):
        shuffle_days(log({"u": "012"}).drop("timestamp"), seed=0)


def test_days_are_shuffled_inside_alone_and_the_same_again() -> None:
    frame = log({"u": "0123456789"}).with_columns(timestamp=pl.col("position") // 5 * DAY_S)
    once = shuffle_days(frame, seed=1)
    assert once.equals(shuffle_days(frame.sample(fraction=1, shuffle=True, seed=9), seed=1))
    assert not once.equals(shuffle_days(frame, seed=2))
    items = once["item_id"].to_list()
    assert set(items[:5]) == set(ITEMS[:5])
    assert items != ITEMS
    assert once["position"].to_list() == list(range(10))


def test_a_planted_leak_is_found() -> None:
    frame = log({"u": "01234"})
    split = split_by_user(frame, ITEMS)
    leaked = replace(split, train=frame)
    assert not find_leaks(split)
    assert len(find_leaks(leaked)) == 2
    assert "'i3'" in find_leaks(leaked)[0]


def test_another_user_s_future_is_a_leak_of_a_time_split_even_without_a_case() -> None:
    frame = log({"u": "0123456789", "v": "012345678"})
    split = split_by_time(frame, ITEMS)
    told = frame.filter(pl.col("item_id") == "i9").with_columns(user_id=pl.lit("w"))
    leaked = replace(split, train=split.train.vstack(told))
    assert not find_leaks(split)
    [leak] = find_leaks(leaked)
    assert leak.startswith("training: user 'w' has 'i9' at time")


@settings(max_examples=60)
@given(
    users=st.dictionaries(st.sampled_from("uvwx"), st.text("0123456789", max_size=12)),
    threshold=st.none() | st.just(3.0),
    by_time=st.booleans(),
    targets=st.integers(1, 4),
    data=st.data(),
)
def test_no_split_leaks_and_none_loses_an_interaction_before_the_targets(
    users: dict[str, str],
    threshold: float | None,
    by_time: bool,
    targets: int,
    data: st.DataObject,
) -> None:
    stars = st.floats(1, 5)
    ratings = {
        user: data.draw(st.lists(stars, min_size=len(items), max_size=len(items)))
        for user, items in users.items()
    }
    frame = log(users, ratings)
    split = (
        split_by_time(frame, ITEMS, min_rating=threshold)
        if by_time
        else split_by_user(frame, ITEMS, min_rating=threshold, targets=targets)
    )
    assert not find_leaks(split)
    for case in (*split.validation, *split.test):
        assert held(case.history) == users[case.user_id][: case.position]
        assert case.target[1:] == users[case.user_id][case.position]
        assert trained(split, case.user_id) == users[case.user_id][: case.training]
        assert threshold is None or ratings[case.user_id][case.position] >= threshold
