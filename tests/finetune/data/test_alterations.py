import numpy as np
import pytest

from mllm_srec.agent.nodes.fuse_items import VisualAnswer, check_fused, compact, item_text
from mllm_srec.finetune.data.alterations import Alterations
from mllm_srec.finetune.data.invented_words import InventedWords
from mllm_srec.finetune.data.teacher import Annotation, annotate
from mllm_srec.store.records import UNKNOWN, Item

ITEMS = {
    "i0": Item(
        item_id="i0", title="Aurora in cotton", brand="Nordal",
        description="For travel. Kind to dry skin.", categories=("beauty",), price=9.0,
    ),
    "i1": Item(
        item_id="i1", title="Maple by Hellmo", description="Steel, for work. Comes in red.",
        categories=("toys",), price=60.0,
    ),
    "i2": Item(
        item_id="i2", title="Comet kite", brand="Hellmo", description="Made with linen. For rain.",
        categories=("toys",), price=20.0,
    ),
}  # fmt: skip
SHOWN = {"pattern": "striped", "style": "sporty"}
ANNOTATIONS = {
    "i0": annotate(
        {"what": "soap", "colour": "blue", **SHOWN, "material": "cotton", "brand": "Nordal",
         "price": "budget", "purpose": "travel", "suits": "dry"},
        pictured=True,
    ),
    "i1": annotate(
        {"what": "robot", "colour": "green", **SHOWN, "material": "steel", "brand": "Hellmo",
         "price": "premium", "purpose": "work", "text_colour": "red"},
        pictured=True,
    ),
    "i2": annotate(
        {"what": "kite", "material": "linen", "brand": "Hellmo", "price": "mid", "purpose": "rain"},
        pictured=False,
    ),
}  # fmt: skip


def altered(item_id: str, count: int = 400) -> list[tuple[Item, Annotation]]:
    rng = np.random.default_rng(5)
    alter = Alterations(ITEMS, ANNOTATIONS, InventedWords([], rng), rng)
    return [alter(ITEMS[item_id], ANNOTATIONS[item_id]) for _ in range(count)]


@pytest.mark.parametrize("item_id", list(ITEMS))
def test_the_description_says_nothing_that_look_and_text_do_not(item_id: str) -> None:
    for item, made in altered(item_id):
        answer = compact(made.fused.model_dump())
        assert check_fused(answer, item, made.look) == made.fused


@pytest.mark.parametrize("item_id", list(ITEMS))
def test_the_description_leaves_out_nothing_that_the_text_still_tells(item_id: str) -> None:
    own = {value.casefold() for value in ANNOTATIONS[item_id].fused.told.values()}
    for item, made in altered(item_id):
        words = set(item_text(item).casefold().replace(".", " ").replace(",", " ").split())
        told = {value.casefold() for value in made.fused.told.values()}
        assert own & words <= told


def test_items_vary_in_look_words_and_length() -> None:
    made = altered("i0")
    looks = {answer.look.text if answer.look else None for _, answer in made}
    assert looks == {None, *(each.look.text for each in ANNOTATIONS.values() if each.look)}
    assert len({item.brand for item, _ in made}) > 50
    assert any(not item.title for item, _ in made)
    assert any(not item.description for item, _ in made)


def test_a_colour_in_the_text_is_a_conflict_just_where_the_picture_shows_another() -> None:
    made = altered("i0", 2_000)
    said = [(item, answer) for item, answer in made if "Comes in" in item.description]
    assert said
    for _, answer in said:
        fused = answer.fused
        if answer.look is None:
            assert fused.told["colour"]
        else:
            assert "colour" not in fused.told
            assert fused.conflicts.get("colour") != fused.seen["colour"]
    assert any(answer.fused.conflicts for _, answer in said)


def test_what_has_no_picture_keeps_none_and_gets_its_type_from_the_text() -> None:
    for item, made in altered("i2"):
        assert made.look is None
        assert (made.fused.what == UNKNOWN) is (not item.title)


def test_the_same_seed_gives_the_same_items() -> None:
    assert altered("i1", 20) == altered("i1", 20)


def test_a_look_without_colour_contradicts_nothing() -> None:
    plain = Annotation(VisualAnswer(what="soap"), ANNOTATIONS["i1"].fused)
    rng = np.random.default_rng(1)
    alter = Alterations({"i1": ITEMS["i1"]}, {"i1": plain}, InventedWords([], rng), rng)
    assert all(not alter(ITEMS["i1"], plain)[1].fused.conflicts for _ in range(50))


def test_labels_that_name_a_colour_in_texts_alone_are_enough() -> None:
    labels = {"what": "robot", "pattern": "plain", "text_colour": "red"}
    annotations = {item_id: annotate(labels, pictured=True) for item_id in ITEMS}
    rng = np.random.default_rng(5)
    alter = Alterations(ITEMS, annotations, InventedWords([], rng), rng)
    for _ in range(50):
        alter(ITEMS["i1"], annotations["i1"])
