"""Described items, interactions with them, and answers of a model: given, and drawn at random."""

import json

from hypothesis import settings
from hypothesis import strategies as st
from pydantic import BaseModel

from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.state import Event, Verdict
from mllm_srec.store.records import DAY_S, UNKNOWN, FusedItem

property_test = settings(max_examples=40)


def item(what: str, *seen: str, told: tuple[str, ...] = ()) -> FusedItem:
    return FusedItem(
        what=what,
        seen={f"s{n}": value for n, value in enumerate(seen)},
        told={f"t{n}": value for n, value in enumerate(told)},
    )


FUSED = {
    "i1": item("kite", "red", told=("cotton",)),
    "i2": item("drum", "red", told=("wood",)),
    "i3": item("robot", "blue", told=("steel",)),
    "i4": item("train", "blue", told=("wood",)),
    "i5": item(UNKNOWN),
}


def event(item_id: str, said: Verdict = "liked", position: int = 0, day: int | None = 0) -> Event:
    return Event(
        item_id=item_id,
        verdict=said,
        position=position,
        rating=None,
        timestamp=None if day is None else day * DAY_S,
    )


def as_answer(value: BaseModel) -> str:
    return compact(value.model_dump())


# What a shop, a picture or a model may say: names with points and signs, several words, capitals or
# none, any script, and the markers of the prompts.
KNOWN = [
    "red",
    "Red",
    "blue",
    "wood",
    "Wood",
    "kite",
    "Dr. Brown's",
    "c++",
    "t-shirt",
    "{0}",
    "¿qué?",
]

WORDS = st.sampled_from([*KNOWN, "deep sea", "deep blue sea", "100% blue", "赤い 凧"]) | st.text(
    st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8
)

ITEMS = st.builds(
    FusedItem,
    what=WORDS,
    seen=st.dictionaries(WORDS, WORDS, max_size=2),
    told=st.dictionaries(WORDS, WORDS, max_size=2),
)

LIKELY: list[Verdict] = ["liked", "liked", "neutral", "disliked"]

VERDICTS = st.sampled_from(LIKELY)


@st.composite
def histories(draw: st.DrawFn, size: int = 14) -> tuple[list[Event], dict[str, FusedItem]]:
    fused = {f"i{n}": each for n, each in enumerate(draw(st.lists(ITEMS, min_size=1, max_size=4)))}
    told = draw(
        st.lists(st.tuples(st.sampled_from(sorted(fused)), VERDICTS), min_size=1, max_size=size)
    )
    return [event(item_id, said, n, n) for n, (item_id, said) in enumerate(told)], fused


@st.composite
def answers(draw: st.DrawFn, kind: type[BaseModel]) -> str:
    """What a model may say in the right form: named lists of words, known ones and others."""
    words = st.lists(WORDS, max_size=6)
    return json.dumps({name: draw(words) for name in kind.model_fields})
