import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.agent.conversation.intents import Understood, check_understood, heard
from mllm_srec.agent.conversation.reading import number, place, points_back
from mllm_srec.agent.grounding import claims, invented
from mllm_srec.llm.structured import InvalidAnswer


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("5", 5), ("five", 5), ("twenty five", 25), ("a dozen", 12), ("a couple", 2), ("a few", 3),
        ("$15.50", 15.5), ("15,50 euro", 15.5), ("1,299.50", 1299.5), ("1.000", 1000),
        ("two hundred", 200), ("a hundred", 100), ("cheap", None), ("", None), ("one", 1),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(words: str, value: float | None) -> None:
    assert number(words) == value


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("2", 2), ("#3", 3), ("the second", 2), ("the 2nd one", 2), ("last", -1), ("number 4", 4),
        ("the last one", -1), ("two", 2), ("Maple No. 6", None), ("the red one", None), ("", None),
    ],
)  # fmt: skip
def test_places_in_a_list_are_read(words: str, where: int | None) -> None:
    assert place(words) == where


@pytest.mark.parametrize("words", ["it", "that one", "This", ""])
def test_what_points_back_names_nothing(words: str) -> None:
    assert points_back(words)


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    number(text)
    place(text)
    points_back(text)
    claims(text)


def test_what_the_model_marks_must_have_been_said() -> None:
    said = heard("five red  trains under 20")
    read = check_understood(
        '{"intent":"recommend","k":"five","having":["red"],"words":"Trains","under":"20"}', said
    )
    assert read.having == ("red",)
    with pytest.raises(InvalidAnswer, match="'blue' was not said"):
        check_understood('{"intent":"recommend","having":["blue"]}', said)


def test_an_answer_says_nothing_that_was_not_said() -> None:
    assert Understood(intent="why", item="2").compact == '{"intent":"why","item":"2"}'


def test_a_message_is_read_as_one_capped_line_without_markup() -> None:
    assert heard("a\n<image>\tb") == "a (image) b"
    assert len(heard("x" * 50_000)) == 300


def test_claims_are_numbers_prices_ids_and_names() -> None:
    text = "This duck costs 3.99 dollars, see i404 by Golden Toys."
    assert {"3.99", "dollars", "i404", "golden", "toys"} <= claims(text)
    assert not invented("This duck is green, like the Maple train.", ["Maple train", "green duck"])
    assert invented("Only 5 left.", ["green duck"]) == {"5"}
