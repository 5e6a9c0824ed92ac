import asyncio
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Item
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.feedback import (
    STEP,
    give_feedback,
    give_item_feedback,
    ruled_out,
    undo_feedback,
    wanted_words,
    wish_steps,
    wishes,
)
from mllm_srec.tools.filters import ItemFilter, allowed_items
from mllm_srec.tools.items import ItemCard, cards, compare, find_item, item_details
from mllm_srec.tools.recommend import Suggestion, Suggestions, explain, recommend
from mllm_srec.tools.search import search_described, search_similar, search_text, unknown_words
from mllm_srec.tools.spelling import Spellings
from mllm_srec.tools.values import Vocabulary

from .toy_shop import embed, toy_home

LETTERS = st.text("abcd ", min_size=1, max_size=12)
WORDS = [f"{one}{two}" for one in "bdgkp" for two in "aeio"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Read by many tests, written by none."""
    with toy_home(tmp_path_factory.mktemp("tools") / "home") as home:
        yield home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with toy_home(tmp_path / "home") as opened:
        yield opened


def test_words_find_the_items_that_have_them_first(shared: Home) -> None:
    found = asyncio.run(search_text(shared, embed, "a red train", Vocabulary.of(shared), count=2))
    assert found[0].item_id == "t1"
    assert found[0].price == 24.0


def test_a_search_keeps_to_its_conditions(shared: Home) -> None:
    cheap = ItemFilter(departments=("toys", "baby"), max_price=30)
    found = asyncio.run(
        search_text(shared, embed, "robot", Vocabulary.of(shared), conditions=cheap)
    )
    assert {each.item_id for each in found} == {"b1", "t1"}


def test_a_description_finds_items_like_it(shared: Home) -> None:
    picture = FusedItem(what="ball", seen={"colour": "green"})
    [first, *_] = asyncio.run(search_described(shared, embed, picture))
    assert first.item_id == "s2"


def test_the_kind_that_is_looked_for_comes_first(shared: Home) -> None:
    # The red train and the red bib have two values of it, the balls the kind alone.
    picture = FusedItem(what="ball", seen={"colour": "red"}, told={"material": "wool"})
    found = asyncio.run(search_described(shared, embed, picture))
    assert {each.item_id for each in found[:2]} == {"s1", "s2"}
    by_words = asyncio.run(search_text(shared, embed, "red wool ball", Vocabulary.of(shared)))
    assert {each.item_id for each in by_words[:2]} == {"s1", "s2"}


def test_a_search_for_a_user_leaves_out_what_was_ruled_out(home: Home) -> None:
    give_feedback(home, "mia", "never", "rubber", origin="chat")
    vocabulary, picture = Vocabulary.of(home), FusedItem(what="ball")
    for found in (
        search_text(home, embed, "ball", vocabulary, user_id="mia"),
        search_described(home, embed, picture, user_id="mia"),
    ):
        assert "s1" not in {each.item_id for each in asyncio.run(found)}
    rubber = ItemFilter(having=("rubber",))
    with pytest.raises(CannotDo, match="you said never rubber"):
        asyncio.run(search_text(home, embed, "a", vocabulary, conditions=rubber, user_id="mia"))


def test_words_that_the_shop_does_not_know_are_told(home: Home) -> None:
    home.catalogue.put_items([Item(item_id="x1", title="Plain", description="For days of Rain.")])
    vocabulary = Vocabulary.of(home)
    assert unknown_words(home, "any red zzzzqq for a day of rain", vocabulary) == ["zzzzqq"]
    assert unknown_words(home, "torbidan rboot, lea ther, something plain", vocabulary) == []


def test_an_item_is_not_similar_to_itself(shared: Home) -> None:
    found = asyncio.run(search_similar(shared, embed, "s1"))
    assert "s1" not in {each.item_id for each in found}


def test_a_search_for_nothing_is_a_wrong_call(shared: Home) -> None:
    with pytest.raises(WrongCall, match="nothing to search"):
        asyncio.run(search_text(shared, embed, "?!", Vocabulary.of(shared)))


@pytest.mark.parametrize("count", [-1, 0, 101])
def test_a_result_has_1_to_100_items(shared: Home, count: int) -> None:
    message = f"count is {count}: ask for 1 to 100 items"
    with pytest.raises(WrongCall, match=message):
        asyncio.run(search_text(shared, embed, "red", Vocabulary.of(shared), count=count))
    with pytest.raises(WrongCall, match=message):
        asyncio.run(search_similar(shared, embed, "t1", count=count))
    found = asyncio.run(search_text(shared, embed, "red", Vocabulary.of(shared), count=100))
    assert len(found) == 6


def test_details_have_what_a_card_leaves_out(shared: Home) -> None:
    details = item_details(shared, "t2")
    assert details.brand == "Torbidan"
    assert details.seen == {"colour": "blue"}
    with pytest.raises(WrongCall, match="'x9'"):
        item_details(shared, "x9")


def test_cards_keep_the_order_that_was_asked_for(shared: Home) -> None:
    assert [card.item_id for card in cards(shared, ["t2", "gone", "b1"])] == ["t2", "b1"]


@pytest.mark.parametrize(
    ("words", "item_id"),
    [
        ("b2", "b2"),
        ("maple train", "t1"),
        ("the green ball", "s2"),
        ("blue robot", "t2"),
        ("Maple trian", "t1"),
        ("the woolen thing", "t1"),
        ("that green one", "s2"),
        ("the rubber ball thing", "s1"),
        ("the one made of leather", "s2"),
        ("the maple trian thing", "t1"),
        ("the mapel train", "t1"),
        ("the Maple train please", "t1"),
    ],
)
def test_an_item_is_found_by_id_title_values_and_a_slip(
    shared: Home, words: str, item_id: str
) -> None:
    assert find_item(shared, words) == item_id


def test_what_is_on_the_screen_is_meant_first(shared: Home) -> None:
    assert find_item(shared, "ball", among=["t1", "s1"]) == "s1"
    assert find_item(shared, "Comet crib", among=["b1"]) == "b2"


def test_a_phrase_of_a_title_and_what_was_shown_lately_are_meant_first(home: Home) -> None:
    titles = {
        "p1": "School Pebble (new)", "p2": "Pebble for school", "p3": "Pebble of school",
        "d1": "Summit duck 1", "d2": "Summit duck 2",
    }  # fmt: skip
    home.catalogue.put_items(Item(item_id=each, title=title) for each, title in titles.items())
    assert find_item(home, "the School Pebble") == "p1"
    assert find_item(home, "pebble school", ["b1"], ["p2", "b2"]) == "p2"
    assert find_item(home, "summit duck", ["d1", "b1"], ["d2"]) == "d1"
    with pytest.raises(WrongCall, match="fits 3 items"):
        find_item(home, "pebble school")


def test_words_that_fit_several_items_and_none_are_two_kinds_of_failure(shared: Home) -> None:
    with pytest.raises(WrongCall, match="fits 2 items"):
        find_item(shared, "ball")
    with pytest.raises(CannotDo, match="called 'submarine': name it by"):
        find_item(shared, "submarine")


def test_an_item_without_a_title_is_named_too() -> None:
    assert ItemCard(item_id="t1", title="Maple train", line="").named == "Maple train [t1]"
    assert ItemCard(item_id="t9", title="", line="").named == "untitled [t9]"


def test_a_comparison_names_what_is_shared_and_what_is_not(shared: Home) -> None:
    both = compare(shared, "b1", "t1")
    assert both.both == ("red",)
    assert "cotton" in both.only_first
    assert both.price_difference == 14.5
    assert compare(shared, "s1", "s2").price_difference is None
    with pytest.raises(WrongCall, match="same item"):
        compare(shared, "b1", "b1")


def test_a_comparison_finds_what_is_shared_whatever_capitals_it_has(home: Home) -> None:
    [entry] = home.catalogue.representations(["t1"]).values()
    told = {"material": "Wool", "colour": "Red", "brand": "torbidan"}
    shown = entry.fused.model_copy(update={"told": told})
    home.catalogue.put_representations([entry.model_copy(update={"fused": shown})])
    assert compare(home, "b1", "t1").both == ("red",)
    assert compare(home, "t1", "t2").both == ("torbidan",)
    assert compare(home, "t2", "t1").only_second == ("train", "red", "Wool")


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ({"having": ("steel",), "max_price": 5}, "steel, up to 5: the cheapest costs 39.90"),
        ({"having": ("ball",), "min_price": 50}, "ball, from 50: the dearest costs 14.00"),
        (
            {"having": ("ball",), "without": ("blue", "green")},
            "ball, without blue, without green: leave out “ball”, and there are 3",
        ),
        (
            {"having": ("bib",), "departments": ("toys", "sports")},
            "toys, sports, bib: leave out “bib”, and there are 4",
        ),
        ({"having": ("steel", "wool", "cotton")}, "steel, wool, cotton: ask for less"),
    ],
)
def test_conditions_that_nothing_meets_are_named_with_a_way_out(
    shared: Home, conditions: dict[str, Any], told: str
) -> None:
    with pytest.raises(CannotDo) as failed:
        allowed_items(shared, ItemFilter(**conditions))
    assert str(failed.value) == f"no item here is {told}"


def test_of_conditions_that_only_items_left_out_meet_no_other_is_found(shared: Home) -> None:
    with pytest.raises(CannotDo, match="no other item here is steel"):
        allowed_items(shared, ItemFilter(having=("steel",), exclude=("t2",)))


def test_no_conditions_allow_everything(shared: Home) -> None:
    assert allowed_items(shared, ItemFilter()) is None


def test_an_item_without_a_price_meets_no_condition_on_it(shared: Home) -> None:
    assert "s1" not in (allowed_items(shared, ItemFilter(max_price=1_000)) or ())


def test_a_price_range_upside_down_is_refused() -> None:
    with pytest.raises(WrongCall) as told:
        ItemFilter(min_price=9, max_price=1)
    assert str(told.value) == "min_price 9.0 is above max_price 1.0: swap them"


@pytest.mark.parametrize(
    "conditions",
    [
        {"having": ("red", "wool"), "without": ("RED",)},
        {"departments": ("red",), "without": ("red",)},
    ],
)
def test_a_value_asked_for_and_ruled_out_is_refused(conditions: dict[str, Any]) -> None:
    with pytest.raises(WrongCall) as told:
        ItemFilter(**conditions)
    assert str(told.value) == "'red' is asked for and in without: take it out of one"


VALUES = ("red", "blue", "cotton", "toys", "nordlund", "ball")


@given(
    having=st.sets(st.sampled_from(VALUES), max_size=2),
    without=st.sets(st.sampled_from(VALUES), max_size=2),
    high=st.none() | st.floats(0, 150),
)
def test_allowed_items_are_exactly_those_that_meet_every_condition(
    shared: Home, having: set[str], without: set[str], high: float | None
) -> None:
    assume(not having & without)
    conditions = ItemFilter(having=tuple(having), without=tuple(without), max_price=high)
    words = {
        card.item_id: {*card.line.replace(";", " ").replace(":", " ").replace(",", " ").split()}
        | {item_details(shared, card.item_id).brand.casefold()}
        | set(item_details(shared, card.item_id).categories)
        for card in cards(shared, shared.catalogue.item_ids())
    }
    prices = {card.item_id: card.price for card in cards(shared, list(words))}
    meeting = {
        item_id
        for item_id, own in words.items()
        if having <= own
        and not without & own
        and (high is None or ((price := prices[item_id]) is not None and price <= high))
    }
    try:
        found = allowed_items(shared, conditions)
    except CannotDo:
        found = frozenset()
    assert (set(words) if found is None else set(found)) == meeting


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("red cotton bibs", ["red", "cotton", "bib"]),
        ("reddish", ["red"]),
        ("something of wool please", ["wool"]),
        ("lether", ["leather"]),
        ("TOYS", ["toys"]),
        ("rad", []),
        ("red lea ther ball", ["red", "leather", "ball"]),
        ("with dots, no stripes", ["dotted", "striped"]),
    ],
)
def test_words_are_read_as_values_of_the_shop(shared: Home, words: str, values: list[str]) -> None:
    patterns = Counter({"dotted": 1, "does": 1, "striped": 1})
    assert Vocabulary(Vocabulary.of(shared).counts + patterns).values(words) == values


def test_near_values_begin_alike_or_are_spelt_alike_and_are_no_oddities() -> None:
    counts = Counter(
        {"preschooler": 70, "school": 90, "duck": 50, "toys": 400, "suits": 3, "does": 1, "tots": 2}
    )
    vocabulary = Vocabulary(counts, {"duck": "what"})
    assert vocabulary.near("for a preschool child") == ["preschooler", "school"]
    assert vocabulary.near("tyos") == ["toys", "tots"]
    with pytest.raises(CannotDo) as told:
        vocabulary.named("sucks")
    assert str(told.value) == "no item here is 'sucks'; kinds here are duck"


def test_a_value_that_no_item_has_is_refused_with_near_ones(shared: Home) -> None:
    with pytest.raises(CannotDo, match="'crimson'"):
        Vocabulary.of(shared).value("crimson")


def test_of_the_values_that_words_name_the_first_counts(shared: Home) -> None:
    assert Vocabulary.of(shared).value("reds, or cotton") == "red"


@given(st.sets(LETTERS, max_size=30), LETTERS, st.sampled_from([0.6, 0.8, 0.85]))
def test_what_is_spelt_alike_is_what_difflib_finds(
    texts: set[str], text: str, cutoff: float
) -> None:
    found = Spellings(texts).near(text, 3, cutoff=cutoff)
    assert found == difflib.get_close_matches(text, texts, 3, cutoff)


def test_pages_of_text_are_compared_with_few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def get_close_matches(phrase: str, texts: Sequence[str], *rest: object) -> list[str]:
        compared.extend(texts)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", get_close_matches)
    values = Vocabulary(Counter(f"{a}{b} {b}{a}" for a in WORDS for b in WORDS))
    assert len(values.counts) == 400
    assert values.values(" ".join(["these", "are", "pages", "of", "text"] * 200)) == []
    assert len(compared) < 100


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    assert set(Vocabulary(Counter({"red": 1})).values(text)) <= {"red"}


def test_the_last_word_about_a_value_counts_and_can_be_taken_back(home: Home) -> None:
    give_feedback(home, "mia", "more", "red", origin="Python")
    give_feedback(home, "mia", "never", "red", origin="chat 1, turn 2")
    [said] = home.feedback.of("mia")
    assert (said.stance, said.subject, said.origin) == ("never", "red", "chat 1, turn 2")
    assert undo_feedback(home, "mia") == said
    [before] = home.feedback.of("mia")
    assert before.stance == "more"


def test_a_wish_said_twice_under_one_key_is_kept_once(home: Home) -> None:
    first = give_feedback(home, "mia", "less", "blue", origin="chat", key="t/1")
    assert give_feedback(home, "mia", "less", "blue", origin="chat", key="t/1") == first
    undo_feedback(home, "mia")
    assert home.feedback.of("mia") == []


def test_nobody_takes_back_a_wish_of_another(home: Home) -> None:
    said = give_feedback(home, "mia", "less", "blue", origin="chat")
    with pytest.raises(CannotDo, match="no wish number"):
        undo_feedback(home, "ben", said.feedback_id)
    with pytest.raises(CannotDo, match="no wish to take back"):
        undo_feedback(home, "ben")


def test_never_becomes_a_condition_and_more_becomes_steps(home: Home) -> None:
    give_feedback(home, "mia", "never", "blue", origin="chat")
    give_item_feedback(home, "mia", "never", "b2", origin="chat")
    give_feedback(home, "mia", "more", "cotton", origin="chat")
    give_item_feedback(home, "mia", "less", "t1", origin="chat")
    said = home.feedback.of("mia")
    assert ruled_out(said) == ItemFilter(without=("blue",), exclude=("b2",))
    assert wanted_words(wishes(home, said)) == "cotton"
    bib, train = (home.catalogue.representations([i])[i].fused for i in ("b1", "t1"))
    assert wish_steps(wishes(home, said), train) == pytest.approx(-STEP)
    assert wish_steps(wishes(home, said), bib) == pytest.approx(STEP - STEP / 3)


class Recommender:
    """Ranks candidates by id."""

    async def __call__(
        self,
        user_id: str,
        *,
        k: int,
        conditions: ItemFilter,
        candidates: Sequence[str] | None = None,
    ) -> Suggestions:
        ids = sorted(candidates or ("t2", "s1", "s2"))[:k]
        items = tuple(
            Suggestion(item_id=i, title=i, line="", rank=n, score=-n, retrieval_rank=n, reason="r")
            for n, i in enumerate(ids, 1)
        )
        return Suggestions(user=user_id, preference="", items=items)


def test_an_item_is_explained_by_its_place_among_those_beside_it(home: Home) -> None:
    standing = asyncio.run(explain(home, Recommender(), "mia", "t2", beside=["s1", "s2"]))
    assert standing.suggestion is not None
    assert (standing.suggestion.rank, standing.among) == (3, 3)


def test_why_an_item_cannot_be_ranked_is_said(home: Home) -> None:
    owned = asyncio.run(explain(home, Recommender(), "mia", "b1"))
    assert "history already" in owned.why_not
    give_item_feedback(home, "mia", "never", "t2", origin="chat")
    never = asyncio.run(explain(home, Recommender(), "mia", "t2")).why_not
    assert never == "you said never Atlas robot [t2]"
    give_feedback(home, "mia", "never", "rubber", origin="chat")
    assert asyncio.run(explain(home, Recommender(), "mia", "s1")).why_not == "you said never rubber"


def test_a_list_of_no_length_is_a_wrong_call() -> None:
    with pytest.raises(WrongCall, match="k is 0"):
        asyncio.run(recommend(Recommender(), "mia", k=0))


def test_deleting_a_user_deletes_what_they_said(home: Home) -> None:
    give_feedback(home, "mia", "more", "red", origin="chat")
    home.threads.start("a", "mia", now=1)
    home.delete_user("mia")
    assert home.feedback.of("mia") == []
    assert home.threads.thread("a") is None
