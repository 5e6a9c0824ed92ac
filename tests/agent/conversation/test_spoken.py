import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.agent.conversation.courtesy import courtesy
from mllm_srec.agent.conversation.intents import Understood, check_understood, heard
from mllm_srec.agent.conversation.nodes import understand_prompt
from mllm_srec.agent.conversation.places import Place, astray, place, points_back
from mllm_srec.agent.conversation.reading import Reading, small
from mllm_srec.agent.conversation.spoken_numbers import CARDINALS, ORDINALS, numbers
from mllm_srec.agent.grounding import claims, invented
from mllm_srec.llm.structured import InvalidAnswer

PIECES = ("pls", "Plzzz", "sooo", "w/", "dont", "don\u2019t", "y", "R", "4", "a, b", "\u0130")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("5", 5), ("five", 5), ("twenty five", 25), ("twenty-one", 21), ("a dozen", 12),
        ("half a dozen", 6), ("a dozen and a half", 18), ("two dozen", 24), ("a couple", 2),
        ("a couple of hundred", 200), ("a few", 3), ("one", 1), ("just one", 1), ("another one", 1),
        ("$15.50", 15.5), ("15,50 euro", 15.5), ("12,50", 12.5), ("EUR 15", 15), ("15,-", 15),
        ("1,299.50", 1299.5), ("1.000", 1000), ("1 299,50", 1299.5), ("0.500", 0.5), ("1k", 1000),
        ("1.5k", 1500), ("a grand", 1000), ("half a grand", 500), ("two and a half thousand", 2500),
        ("two hundred", 200), ("a hundred", 100), ("a hundred and twenty", 120),
        ("a fiver", 5), ("a tenner", 10), ("two tenners", 20), ("a buck", 1), ("seventy quid", 70),
        ("99p", 0.99), ("fifty cents", 0.5), ("5 dollars and ten cents", 5.1), ("12€50", 12.5),
        ("5 bucks 50", 5.5), ("15-ish", 15), ("around 20", 20), ("the one under 20", 20),
        ("five point five", 5.5), ("nineteen point ninety nine", 19.99), ("$.50", 0.5),
        (".99", 0.99), ("£1.50p", 1.5), ("fourty five", 45), ("at most one", 1), ("give me one", 1),
        ("five please", 5), ("just one, please", 1), ("20 bucks thanks", 20),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(words: str, value: float) -> None:
    assert numbers(words) == (value,)


@pytest.mark.parametrize(
    "words",
    ["", "cheap", "a cheaper one", "a bit cheaper", "the red one", "k thanks", "half", "attend"],
)
def test_words_that_say_no_number_are_read_as_none(words: str) -> None:
    assert numbers(words) == ()


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("twelve fifty", (12.5, 1250)), ("two fifty", (2.5, 250)), ("10 to 20", (10, 20)),
        ("five ninety nine", (5.99, 599)), ("$10-$20", (10, 20)), ("two or three", (2, 3)),
        ("ten and twenty", (10, 20)), ("10 euros and 20", (10, 20)),
        ("around one fifty", (1.5, 150)), ("less than one twenty", (1.2, 120)),
    ],
)  # fmt: skip
def test_what_may_be_one_number_or_another_is_read_as_both(
    words: str, values: tuple[float, ...]
) -> None:
    assert numbers(words) == values


def spoken(number: int) -> str:
    """A number below a million in words."""
    for scale, name in ((1000, "thousand"), (100, "hundred")):
        many, rest = divmod(number, scale)
        if many:
            return f"{spoken(many)} {name}{' ' + joint(rest) + spoken(rest) if rest else ''}"
    return next(word for word, below in CARDINALS.items() if below == number)


def joint(rest: int) -> str:
    return "and " if rest < 100 else ""


@given(st.integers(0, 999_999))
def test_a_number_in_words_is_the_number(number: int) -> None:
    assert numbers(f"about {spoken(number)} dollars") == (number,)


@given(st.integers(0, 10**8), st.sampled_from(["{:.2f}", "{:,.2f}", "€{:.2f}", "{:.2f} bucks"]))
def test_a_price_in_digits_is_the_price(cents: int, form: str) -> None:
    assert numbers(form.format(cents / 100)) == (cents / 100,)


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("2", 2), ("#3", 3), ("(2)", 2), ("two", 2), ("number 4", 4), ("number one", 1),
        ("option 3", 3), ("option one", 1), ("num 4", 4), ("nr 2", 2), ("nr. 2", 2), ("no.4", 4),
        ("item no. 10", 10), ("item #3", 3), ("numero 2", 2), ("the second", 2),
        ("the 2nd one", 2), ("that 2nd one", 2), ("very first", 1), ("your second pick", 2),
        ("the first of them", 1), ("first of the two", 1), ("twenty-first", 21), ("last", -1),
        ("the last", -1), ("the last one", -1), ("the last one on the list", -1),
        ("second last", -2), ("second-to-last", -2), ("last but one", -2),
        ("the second from the bottom", -2), ("third one from the end", -3),
        ("the second from the top", 2), ("the top one", 1), ("the one at the top", 1),
        ("the bottom one", -1), ("the middle one", "middle"), ("the cheapest one", "cheapest"),
        ("the dearest", "dearest"), ("the most expensive one", "dearest"),
        ("the cheap one", "cheaper"), ("cheapest of them", "cheapest"),
        ("the second to", 2), ("2 from", 2), ("the last one costs", -1),
        ("the second one please", 2), ("3, please!", 3), ("the last, thank you", -1),
    ],
)  # fmt: skip
def test_places_in_a_list_are_read(words: str, where: Place) -> None:
    assert place(words) == where
    assert not points_back(words)


@pytest.mark.parametrize(
    "words",
    ["Maple No. 6", "the red one", "", "one", "no one", "the top", "cheap", "two of them", "1.5"],
)
def test_titles_values_and_counts_are_no_places(words: str) -> None:
    assert place(words) is None


@given(
    st.integers(1, 99),
    st.sampled_from(["{}", "number {}", "the {} one", "{} from the top", "your {} pick"]),
)
def test_a_place_is_read_in_digits_and_in_words(number: int, form: str) -> None:
    words = [word for word, nth in ORDINALS.items() if nth == number]
    if form == "number {}":
        words = [word for word, below in CARDINALS.items() if below == number]
    assert {place(form.format(each)) for each in (number, *words)} == {number}


@pytest.mark.parametrize(
    "words", ["it", "that one", "This", "the item", "", "that one, please", "please"]
)
def test_what_points_back_names_nothing(words: str) -> None:
    assert points_back(words)


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ("the", "things that cost less than the second"),
        ("that", "things that cost less"),
        ("that", "anything that is cheaper, please"),
        ("it", "less like it and more like number 2"),
    ],
)
def test_an_article_and_the_beginning_of_a_clause_point_at_nothing(span: str, said: str) -> None:
    assert astray(span, said)


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ("that", "never show me that again"),
        ("that", "i hate things like that"),
        ("that one", "less of the things like that one"),
        ("the second", "less like the second"),
        ("", "never again"),
        ("it", "it is too red for the first birthday of my son"),
    ],
)
def test_what_was_spoken_of_and_what_is_named_is_not_astray(span: str, said: str) -> None:
    assert not astray(span, said)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("hey there", "greeting"), ("Hello!", "greeting"), ("good morning", "greeting"),
        ("thx bye", "goodbye"), ("ok, thanks a lot!", "thanks"), ("thank you and bye", "goodbye"),
        ("hi, red toys please", None), ("good", None), ("thanks but no", None), ("", None),
        ("no thanks", None), ("hey", "greeting"), ("bye 2", None),
    ],
)  # fmt: skip
def test_a_message_of_nothing_but_courtesies_is_told(said: str, kind: str | None) -> None:
    assert courtesy(said) == kind


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    numbers(text)
    place(text)
    points_back(text)
    astray("it", text)
    courtesy(text)
    claims(text)


def test_what_the_model_marks_must_have_been_said() -> None:
    said = heard("five red  trains under 20")
    read = check_understood(
        '{"intent":"recommend","k":"five","having":["red"],"words":"Trains","under":"20"}', said
    )
    assert read.having == ("red",)
    with pytest.raises(InvalidAnswer, match="'blue' was not said"):
        check_understood('{"intent":"recommend","having":["blue"]}', said)


@given(st.text(max_size=100))
def test_small_letters_stand_where_the_letters_stood(text: str) -> None:
    assert len(small(text)) == len(text)
    assert small(small(text)) == small(text)


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES)).map(" ".join))
def test_what_is_read_can_be_given_back_as_it_was_typed(text: str) -> None:
    reading = Reading.of(text)
    assert len(reading.places) == len(reading.text)
    assert reading.typed(reading.text) == (text or None)
    assert Reading.of(reading.text).text == reading.text


def test_shorthand_is_read_written_out_and_copied_as_it_was_typed() -> None:
    said = "Plzzz gimme sth w/ wheels, I don\u2019t luv Smth & Co"
    read = "please give me something with wheels, i don't love something & co"
    assert Reading.of(said).text == read
    answered = '{"intent":"recommend","having":["with wheels"],"without":["something & co"]}'
    understood = check_understood(answered, said)
    assert understood.having == ("w/ wheels",)
    assert understood.without == ("Smth & Co",)


def test_numbers_names_and_parts_of_words_are_no_shorthand() -> None:
    for said in ("4 r2 toys", "the u7 one", "y-fronts", "t/r/u", "o'r", "10w/30", "2 em-dash"):
        assert Reading.of(said).text == said


def test_capitals_are_not_read_and_stay_in_what_is_copied() -> None:
    asked = understand_prompt("nothing", "Something by Nordlund, in RED")
    assert asked == understand_prompt("nothing", "something by nordlund, in red")
    answered = '{"intent":"recommend","having":["nordlund","red"]}'
    read = check_understood(answered, "Something by Nordlund, in RED")
    assert read.having == ("Nordlund", "RED")


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
