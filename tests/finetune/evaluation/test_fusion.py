from dataclasses import replace

import pytest

from mllm_srec.finetune.evaluation.fusion import (
    Fusion,
    Fusions,
    chance,
    fusion_figures,
    hallucinations,
)
from mllm_srec.finetune.shop.vocabulary import ItemTruth
from mllm_srec.store.records import FusedItem, Item

BALL = ItemTruth(
    item_id="i1",
    department="sports",
    what="ball",
    colour="red",
    pattern="dotted",
    style="sporty",
    material="rubber",
    brand="Nordlund",
    price_band="mid",
    price=20.0,
    purpose="leisure",
    suits="fitness",
    text_colour=None,
    has_picture=True,
    bare_text=False,
    noise=(),
    added_day=0,
)
TEXT = Item(item_id="i1", title="Nordlund ball", description="Made of rubber, for leisure.")
SEEN = {"colour": "red", "pattern": "dotted", "style": "sporty"}
TOLD = {"material": "rubber", "brand": "Nordlund", "purpose": "leisure"}
RIGHT = FusedItem(what="ball", seen=SEEN, told=TOLD)
BARE = FusedItem(what="ball", seen=SEEN)


def fusion(
    fused: FusedItem = RIGHT, item: Item = TEXT, *, fallback: bool = False, **truth: object
) -> Fusion:
    return Fusion(item, replace(BALL, **truth), fused, fallback)  # type: ignore[arg-type]


def figures(*both: Fusion, text_alone: tuple[Fusion, ...] = ()) -> dict[str, object]:
    return fusion_figures(Fusions(both, text_alone, ()))


def test_a_description_without_fault_gets_everything() -> None:
    found = figures(fusion())
    for name in ("type", "colour", "pattern", "style"):
        assert found[f"{name}_accuracy"] == 1
    assert found["hallucination_rate"] == 0
    assert found["copy_accuracy"] == 1
    assert found["conflict_accuracy"] is None


def test_kinds_of_items_stand_apart() -> None:
    said = Item(item_id="i1", title="Blue ball of rubber, Nordlund, leisure")
    conflict = RIGHT.model_copy(update={"conflicts": {"colour": "blue"}})
    found = figures(
        fusion(),
        fusion(conflict, said, text_colour="blue"),
        fusion(RIGHT, said, text_colour="blue"),
        fusion(FusedItem(what="ball", told=TOLD), has_picture=False),
        fusion(noise=("blur",)),
        fusion(BARE, Item(item_id="i1"), bare_text=True),
    )
    groups = found["groups"]
    assert isinstance(groups, dict)
    counts = {name: group["items"] for name, group in groups.items()}
    assert counts == {
        "agreeing": 3,
        "contradicting": 2,
        "picture_less": 1,
        "noisy": 1,
        "bare_text": 1,
    }
    assert found["conflict_accuracy"] == groups["contradicting"]["conflict_accuracy"] == 0.5
    assert groups["contradicting"]["colour"] == 1
    assert groups["picture_less"]["colour"] == 0
    assert groups["picture_less"]["hallucination_rate"] == 0


def test_hallucinations_are_counted_where_they_stand() -> None:
    wrong = FusedItem(
        what="kite", seen={"colour": "green"}, told={"brand": "Nordlund"}, conflicts={"style": "x"}
    )
    assert hallucinations([fusion(wrong)]) == {
        "all": 0.75,
        "what": 1,
        "seen": 1,
        "told": 0,
        "conflicts": 1,
    }
    # What the picture would show is made up where there is none.
    assert hallucinations([fusion(has_picture=False)])["seen"] == 1
    assert hallucinations([]) == dict.fromkeys(("all", "what", "seen", "told", "conflicts"))


def test_the_text_alone_is_held_against_always_naming_the_most_frequent_value() -> None:
    blind = FusedItem(what="ball", told=TOLD)
    found = figures(fusion(), fusion(), text_alone=(fusion(blind), fusion(blind, colour="blue")))
    assert found["text_alone"] == {"type": 1, "colour": 0, "pattern": 0, "style": 0}
    assert chance([BALL, BALL, replace(BALL, colour="blue")])["colour"] == pytest.approx(2 / 3)
