import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from mllm_srec.llm.structured import InvalidAnswer, parse


class Seen(BaseModel):
    model_config = ConfigDict(extra="forbid")

    what: str
    seen: list[str]


@pytest.mark.parametrize(
    "text",
    [
        '{"what": "ball", "seen": ["red"]}',
        'Here it is:\n```json\n{"what": "ball", "seen": ["red"]}\n```',
        'A {strange} start {"what": "ball", "seen": ["red"]} and an end }',
    ],
)
def test_an_object_is_found_in_what_stands_around_it(text: str) -> None:
    assert parse(text, Seen) == Seen(what="ball", seen=["red"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no complete JSON"),
        ('{"what": "ball", "seen": ["red"', "no complete JSON"),
        ('{"what": "ball"}', "seen"),
        ('{"what": "ball", "seen": "red"}', "seen"),
        ('{"what": "ball", "seen": [], "price": 1}', "price"),
        ('["ball"]', "no complete JSON"),
        ("{" * 100_000, "no complete JSON"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidAnswer, match=reason) as caught:
        parse(text, Seen)
    assert caught.value.text == text


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        parse(text.replace("what", ""), Seen)


@given(st.text(), st.lists(st.text()))
def test_what_was_written_is_read_back(what: str, seen: list[str]) -> None:
    value = Seen(what=what, seen=seen)
    assert parse(value.model_dump_json(), Seen) == value
