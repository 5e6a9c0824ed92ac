"""What single fields are read as: times, numbers, lists, and text without hidden parts."""

import math
from datetime import UTC, date, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mllm_srec.store.fields import FieldError, clean_text, identifier, number, seconds, words
from tests.store.conftest import NOW


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1_700_000_000_000, "milliseconds"),
        (17e14, "microseconds"),
        ("1700000000000000000", "nanoseconds"),
    ],
)
def test_finer_times_are_named_as_such(value: object, unit: str) -> None:
    with pytest.raises(FieldError, match=rf"\({unit}\? seconds are expected\)"):
        seconds({"t": value}, "t", now=NOW)


@pytest.mark.parametrize("value", ["15.01.2024", "01/15/2024", "2024-1-5", "yesterday", True, [1]])
def test_what_is_no_time_is_refused_with_what_would_be_one(value: object) -> None:
    with pytest.raises(FieldError, match="expected a time such as 2024-01-15, "):
        seconds({"t": value}, "t", now=NOW)


@pytest.mark.parametrize("value", [20240115, "20240115", " 20240115", 20240115.0, "19991231"])
def test_a_day_in_digits_is_refused_and_not_read_as_seconds(value: object) -> None:
    with pytest.raises(FieldError, match=r"a day.*2024-01-15"):
        seconds({"t": value}, "t", now=NOW)


@pytest.mark.parametrize("value", [1e22, 9_007_199_254_740_994.0, -1e300])
def test_an_id_that_lost_digits_as_a_float_is_refused(value: float) -> None:
    with pytest.raises(FieldError, match="lost digits"):
        identifier({"id": value}, "id")
    assert identifier({"id": 7.0}, "id") == "7"
    assert identifier({"id": 10**22}, "id") == "1" + "0" * 22


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (20241315, 20241315),
        ("1970-08-23T06:15:15", 20240115),
        (5.9, 5),
        ("5", 5),
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00:00+01:00", 0),
        (date(1970, 1, 2), 86_400),
        (datetime(1970, 1, 1, 0, 1), 60),
        (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 60),
        (None, None),
        ("", None),
        (math.nan, None),
    ],
)
def test_times_are_seconds(value: object, expected: int | None) -> None:
    assert seconds({"t": value}, "t", now=NOW) == expected


def test_numbers_may_carry_a_currency() -> None:
    assert number({"p": " $1,299.00"}, "p") == 1299.0
    assert number({"p": "€5"}, "p") == 5.0
    assert number({"p": "1,234,567"}, "p") == 1_234_567.0


@pytest.mark.parametrize("written", ["19,99", "1.299,00", "1,2,3", "12,34,567", ",5", "0,999"])
def test_a_decimal_comma_is_refused_and_not_read_as_something_else(written: str) -> None:
    with pytest.raises(FieldError, match=r"write decimals with a '\.'"):
        number({"p": written}, "p")


def test_lists_may_be_json_or_have_bars_between() -> None:
    assert words({"c": '["a", "b"]'}, "c") == ("a", "b")
    assert words({"c": "a|b||a"}, "c") == ("a", "b")
    assert words({"c": "[unknown"}, "c") == ("[unknown",)
    assert words({"c": [["a", "b"], None, "c"]}, "c") == ("a > b", "c")


def test_a_list_as_data_frames_write_it_is_a_list() -> None:
    assert words({"c": str(["a's", 'b"', "c"])}, "c") == ("a's", 'b"', "c")
    assert words({"c": str([["a", "b"], ["c"]])}, "c") == ("a > b", "c")


@pytest.mark.parametrize("written", ["['a' 'b']", "['a', nan]", '["a"', "['a', f()]"])
def test_a_list_that_cannot_be_told_is_not_taken_for_one_name(written: str) -> None:
    with pytest.raises(FieldError, match=r"expected a list, or text with \| between"):
        words({"c": written}, "c")


def test_control_characters_escapes_and_hidden_text_are_removed() -> None:
    assert clean_text("\x1b[31mred\x1b[0m") == "red"
    assert clean_text("\x1b]0;owned\x07title") == "title"
    assert clean_text("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\") == "click"
    assert clean_text("\x9b31mred\x07\x00") == "red"
    assert clean_text("\x1bPdcs\x1b\\x\x1bc") == "x"
    assert clean_text("a\tb\r\nc\u2028d\x85e") == "a b c d e"
    assert clean_text("abc\u202edef\u2066\U000e0041") == "abcdef"
    assert (
        clean_text("[bold]sale[/] \N{FAMILY} e\u0301 日本")
        == "[bold]sale[/] \N{FAMILY} e\u0301 日本"
    )


@given(st.text())
@example("\x1b")
@example("\x1b]unfinished")
def test_cleaned_text_is_clean_whatever_came_in(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert "\x1b" not in clean
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in clean)
    clean.encode()
