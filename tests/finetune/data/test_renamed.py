"""Users in other words, and the items that stand against what they like."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mllm_srec.agent.state import Event, Settings
from mllm_srec.finetune.data.invented_words import InventedWords
from mllm_srec.finetune.data.others import Others
from mllm_srec.finetune.data.renamed import Renamed
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.teacher import Historian
from mllm_srec.store.records import MAX_WORD, UNKNOWN, FusedItem

FUSED = {
    f"i{number}": FusedItem(
        what=("ball", "kite", UNKNOWN)[number % 3],
        seen={"colour": ("red", "blue")[number % 2]},
        told={"material": ("cotton", "wool")[number // 2 % 2], "brand": "Nordal", "price": "mid"},
    )
    for number in range(30)
}


def renamed(seed: int) -> Renamed:
    rng = np.random.default_rng(seed)
    return Renamed(FUSED, InventedWords.like(["woven from cotton for travel"], rng), rng)


def pattern(fused: Mapping[str, FusedItem]) -> list[tuple[bool, ...]]:
    """Which values of which items are equal: all that a taste is made of."""
    values = [value for item in fused.values() for value in item.facets()]
    return [tuple(value == other for other in values) for value in values]


@example(9613)  # Drew `Cooven` for a brand and `cooven` for a material: one value.
@given(st.integers(0, 10_000))
def test_other_words_leave_equal_what_was_equal_and_apart_what_was_not(seed: int) -> None:
    assert pattern(renamed(seed)) == pattern(FUSED)


@given(st.integers(0, 10_000))
def test_invented_words_are_words_of_a_description(seed: int) -> None:
    words = InventedWords.like(["Comes in organic bamboo"], np.random.default_rng(seed))
    drawn = [words.draw() for _ in range(20)]
    assert all(0 < len(word) <= MAX_WORD and word.strip(" -") == word for word in drawn)
    assert len(set(drawn)) > 1


def test_prices_and_the_unknown_keep_their_names_and_brands_their_capitals() -> None:
    several = [renamed(seed) for seed in range(20)]
    assert all(view["i2"].what == UNKNOWN for view in several)
    assert all(view["i0"].told["price"] == "mid" for view in several)
    brands = {view["i0"].told["brand"] for view in several}
    assert len(brands) > 10
    assert all(brand[0].isupper() for brand in brands)


def test_a_word_that_nobody_described_is_an_error() -> None:
    with pytest.raises(KeyError):
        renamed(1)["absent"]


def liked(item_id: str, day: int) -> Event:
    return Event(item_id=item_id, position=day, rating=5.0, timestamp=day * 86_400, verdict="liked")


def test_a_renamed_user_is_asked_about_in_the_same_words_everywhere() -> None:
    events = [liked("i0", 1), liked("i6", 2), liked("i12", 3)]
    rng = np.random.default_rng(0)
    settings = DataSettings(liked_per_group=1, others_per_group=3)
    others = Others({"u": events}, FUSED, rng, settings)
    view = renamed(3)
    group = others.group(Historian(events, view, Settings()), 2)
    assert group is not None
    assert view["i12"].line in group.branches[0].suffix
    brand = view["i0"].told["brand"]
    assert brand != "Nordal"
    assert all(brand in each.suffix and "Nordal" not in each.suffix for each in group.branches)
    assert brand in group.prompt[-1].text
