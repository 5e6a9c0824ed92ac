"""Lists, searches, criticism and reasons, by talk."""

import io
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.catalogue import Catalogue
from mllm_srec.store.errors import BadPicture
from mllm_srec.store.home import Home
from mllm_srec.store.records import Item
from mllm_srec.tools.values import Vocabulary
from tests.agent.shop import ITEMS, score

from .talk import answering, engine, ids, opened, said


def test_a_list_is_asked_for_narrowed_and_turned_over(chat: Conversation) -> None:
    first = chat.say("two things please")
    assert (first.intent, len(first.items)) == ("recommend", 2)
    assert first.items[0].title in first.answer
    assert first.items[0].reason in first.answer
    others = chat.say("others")
    assert not set(ids(first)) & set(ids(others))
    green = chat.say("something green under 30")
    assert ids(green) == ["i8"]
    assert "up to 30" in green.answer


def test_a_request_is_changed_by_what_is_said_next(chat: Conversation) -> None:
    chat.say("two things please")
    wooden = chat.say("only wooden ones")
    assert set(ids(wooden)) <= {"i1", "i3", "i5", "i7"}


def _drawn(colour: tuple[int, int, int]) -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(picture, "PNG")
    return picture.getvalue()


@pytest.mark.parametrize(
    ("then", "lead", "found"),
    [
        (Understood(intent="recommend", again=True, having=("blue",)), "kite, blue", {"k1"}),
        (Understood(intent="recommend", again=True, having=("drums",)), "red, drum", {"i3"}),
        (Understood(intent="recommend", again=True, having=("blue drums",)), "blue, drum", {"k2"}),
        (Understood(intent="recommend", again=True, without=("red",)), "kite, without red", {"k1"}),
    ],
)
def test_conditions_of_different_attributes_add_up(
    then: Understood, lead: str, found: set[str], tmp_path: Path
) -> None:
    with opened(tmp_path / "home") as talks:
        talks.srec.put_items(
            [
                Item(
                    item_id=item_id,
                    title=f"Fine {what}",
                    description="Made of paper.",
                    picture=talks.home.pictures.add(_drawn((20, 20, 200))),
                )
                for item_id, what in (("k1", "kite"), ("k2", "drum"))
            ]
        )
        with talks.begin("nobody") as chat:
            chat.do(Understood(intent="recommend", having=("red kites",)))
            turn = chat.do(then)
            assert f"({lead})" in turn.answer
            assert set(ids(turn)) == found


def test_what_is_ruled_out_adds_up_until_it_is_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("nobody") as chat:
        chat.do(Understood(intent="recommend", without=("red",)))
        without = Understood(intent="recommend", again=True, without=("blue",))
        assert "(without red, without blue)" in chat.do(without).answer
        red = Understood(intent="recommend", again=True, having=("red",))
        assert "(red, without blue)" in chat.do(red).answer


def _priced(talks: Conversations, prices: Mapping[str, float]) -> None:
    items = talks.home.catalogue.items()
    talks.home.catalogue.put_items(
        items[item_id].model_copy(update={"price": price}) for item_id, price in prices.items()
    )


CHEAPER = Understood(intent="recommend", again=True, under="cheaper")


def test_cheaper_is_below_the_middle_of_the_list_and_nothing_of_it(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("nobody") as chat:
        listed = ids(chat.do(Understood(intent="search", words="fine", k="5")))
        others = sorted(set(ITEMS) - set(listed))
        # One dear item does not shift what is cheaper.
        shown = dict(zip(listed, (900.0, 12.0, 14.0, 13.0, 11.0), strict=True))
        _priced(talks, {**shown, **dict(zip(others, (13.0, 12.5, 5.0), strict=True))})
        chat.do(Understood(intent="search", words="fine", k="5"))
        cheaper = chat.do(CHEAPER)
        assert cheaper.answer.startswith("Nearest to “fine” (up to 12.99):")
        assert set(ids(cheaper)) == set(others[1:])
        assert ids(chat.do(CHEAPER)) == []


def test_cheaper_means_the_list_it_was_said_of_and_none_after_it(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("nobody") as chat:
        listed = ids(chat.do(Understood(intent="search", words="wood", k="2")))
        _priced(talks, dict.fromkeys(ITEMS, 4.0) | dict.fromkeys(listed, 5.0))
        chat.do(Understood(intent="search", words="wood", k="2"))
        assert "(up to 4.99)" in chat.do(CHEAPER).answer
        assert "(wood, up to 4.99)" in chat.say("only wooden ones").answer
        assert "up to 4.99" in chat.do(Understood(intent="recommend", again=True, k="1")).answer


def test_a_price_that_contradicts_the_one_before_takes_its_place(tmp_path: Path) -> None:
    prices = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0)
    with opened(tmp_path / "home") as talks, talks.begin("nobody") as chat:
        _priced(talks, dict(zip(ITEMS, prices, strict=True)))
        chat.do(Understood(intent="recommend", k="4", under="20"))
        over = chat.do(Understood(intent="recommend", again=True, over="30"))
        assert over.answer.startswith("For you (from 30):")
        under = chat.do(Understood(intent="less", having=("rubber",), under="17"))
        assert under.answer.startswith("Noted: less rubber. For you (up to 17):")
        between = chat.do(Understood(intent="recommend", again=True, over="10"))
        assert between.answer.startswith("For you (from 10, up to 17):")
        both = chat.do(Understood(intent="recommend", again=True, over="30", under="25"))
        assert both.answer == "Sorry: nothing can be over 30 and under 25."


def test_a_wish_that_no_item_meets_gets_an_honest_answer(chat: Conversation) -> None:
    turn = chat.say("anything purple")
    assert turn.answer.startswith("Sorry: no item here is 'purple'")
    assert turn.items == ()


def test_of_what_is_unknown_in_part_the_rest_is_answered(chat: Conversation) -> None:
    turn = chat.do(Understood(intent="recommend", having=("a 2yo", "green"), under="thirty"))
    assert turn.answer.startswith("No item here is 'a 2yo'. For you (green, up to 30):")
    assert ids(turn) == ["i8"]
    # What was unknown is not asked for again.
    again = chat.do(Understood(intent="recommend", again=True, having=("purplish", "blue")))
    assert again.answer.startswith("No item here is 'purplish'. For you (blue, up to 30):")
    part = chat.do(Understood(intent="recommend", having=("green submarine",)))
    assert part.answer.startswith("No item here is 'submarine'. For you (green):")
    without = chat.do(Understood(intent="recommend", without=("glitter",)))
    assert without.answer.startswith("No item here is 'glitter'. For you:")
    wish = chat.do(Understood(intent="less", having=("rubber", "glitter")))
    assert wish.answer.startswith("Noted: less rubber. No item here is 'glitter'. For you:")


def test_of_nothing_but_unknown_words_it_is_said_what_there_is(chat: Conversation) -> None:
    kinds = "; kinds here are rattle, kite, drum, robot, train"
    for asked in (
        Understood(intent="recommend", having=("pokemon cards",), k="five"),
        Understood(intent="recommend", again=True, department="pokemon cards"),
        Understood(intent="never", having=("pokemon cards",)),
    ):
        turn = chat.do(asked)
        assert turn.answer == f"Sorry: no item here is 'pokemon cards'{kinds}."
        assert turn.items == ()
    assert "nothing to take back" in chat.say("undo").answer


def test_a_search_says_which_words_nothing_here_is_called(chat: Conversation) -> None:
    unknown = chat.do(Understood(intent="search", words="some pokemon cards"))
    nothing = "Nothing here is called or described as “pokemon cards”. Nearest to "
    assert unknown.answer.startswith(f"{nothing}“some pokemon cards”:")
    assert unknown.items
    part = chat.do(Understood(intent="search", words="red pokemon ball"))
    assert part.answer.startswith("Nothing here is called or described as “pokemon”. Nearest to")
    # A word of a title, a plural and a slip are known.
    for words in ("fine kites", "wooden robto"):
        assert chat.do(Understood(intent="search", words=words)).answer.startswith("Nearest to")


def test_of_a_value_wanted_and_not_wanted_the_negation_counts(chat: Conversation) -> None:
    turn = chat.do(
        Understood(intent="recommend", having=("red", "wood"), without=("red",), under="30")
    )
    assert "For you (wood, without red, up to 30):" in turn.answer
    noted = chat.do(Understood(intent="never", having=("red",), without=("red",)))
    assert noted.answer.startswith("Noted: never red. For you (wood, without red, up to 30):")
    mixed = chat.do(Understood(intent="more", having=("blue", "green"), without=("green",)))
    assert mixed.answer.startswith("Noted: more blue; less green. For you")


def test_criticism_does_not_contradict_the_request_before(chat: Conversation) -> None:
    chat.do(Understood(intent="recommend", having=("blue", "rubber"), k="3"))
    never = chat.say("never blue")
    assert never.answer.startswith("Noted: never blue. For you (rubber):")
    assert ids(never) == ["i8"]


def test_criticism_takes_how_many_and_a_price_with_it(chat: Conversation) -> None:
    chat.do(Understood(intent="recommend", k="4"))
    turn = chat.do(Understood(intent="never", having=("rubber",), k="two", under="25"))
    assert turn.answer.startswith("Noted: never rubber. For you (up to 25):")
    assert len(turn.items) == 2


def test_what_is_ruled_out_is_in_no_search(chat: Conversation) -> None:
    chat.say("never rubber")
    found = chat.do(Understood(intent="search", words="fine ball", k="8"))
    assert found.answer.startswith("Nearest to “fine ball”:")
    asked = chat.do(Understood(intent="search", words="rubber ball", k="8"))
    assert asked.answer.startswith("Left out, as you said: never rubber. Nearest to “rubber ball”:")
    pictured = chat.say("like this", picture=_drawn((20, 160, 20)))
    for turn in (found, asked, pictured):
        assert turn.items
        assert {"i6", "i8"}.isdisjoint(ids(turn))
    for intent in ("recommend", "search"):
        refused = chat.do(Understood(intent=intent, words="toy", having=("rubber",)))
        assert refused.answer == "Sorry: you said never rubber: take that back first."


def test_a_turn_reads_the_values_of_the_shop_once(
    chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, read = Vocabulary.of, list[Vocabulary]()

    def counted(home: Home) -> Vocabulary:
        read.append(of(home))
        return read[-1]

    monkeypatch.setattr(Vocabulary, "of", counted)
    chat.say("add wood but no rubber to my profile")
    assert len(read) == 1
    asked = Understood(intent="search", words="ball", having=("blue",), without=("wood", "red"))
    assert ids(chat.do(asked))
    assert len(read) == 2


def test_no_turn_reads_the_whole_catalogue_on_the_loop_of_all_conversations(
    chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, whole = list[str](), Catalogue.items

    def watched(catalogue: Catalogue, ids: Iterable[str] | None = None) -> dict[str, Item]:
        if ids is None:
            read.append(threading.current_thread().name)
        return whole(catalogue, ids)

    monkeypatch.setattr(Catalogue, "items", watched)
    for message in (
        "why not the duck",  # nothing is on the screen yet
        "something green under 30",
        "find a blue ball",
        "never blue",
        "add wood but no rubber to my profile",
    ):
        before = len(read)
        assert chat.say(message).answer
        assert len(read) > before, message
    assert "graph" not in read


def test_a_search_by_words_and_by_a_picture(chat: Conversation) -> None:
    assert ids(chat.say("find a blue ball"))[0] == "i6"
    turn = chat.say("", picture=_drawn((20, 160, 20)))
    assert turn.intent == "search"
    assert set(ids(turn)[:2]) == {"i7", "i8"}
    assert "green" in turn.answer


def test_what_is_said_of_a_picture_is_not_what_it_shows(tmp_path: Path) -> None:
    def merged(prompt: Prompt) -> str:
        text = prompt.messages[1].text
        if text.startswith("Merge") and "Title: red duck" in text:
            return compact({"what": "duck", "seen": {"colour": "green"}, "told": {"hue": "red"}})
        return answering()(prompt)

    with (
        opened(tmp_path / "home", ScriptedEngine(answer=merged, score=score)) as talks,
        talks.begin("nobody") as chat,
    ):
        asked = Understood(intent="search", words="red duck")
        picture = talks.home.pictures.add(_drawn((20, 160, 20)))
        turn = chat.start("red duck", lambda event: None, picture=picture, turn=asked).result()
        lead = "Your picture shows duck: green. Nearest to it, “red duck”"
        assert turn.answer.startswith(f"{lead}:")
        assert ids(turn)[0] == "i8"
        under = chat.do(Understood(intent="search", again=True, under="25"))
        assert under.answer.startswith(f"{lead} (up to 25):")


def test_the_name_of_a_picture_is_no_picture(chat: Conversation) -> None:
    name: Any = "photo.png"
    with pytest.raises(
        BadPicture, match=r"'photo\.png' is no picture that is kept: give the bytes"
    ):
        chat.say("like this", picture=name)
    assert chat.turns() == []


def test_a_search_goes_on_with_others_and_by_what_is_said_next(chat: Conversation) -> None:
    seen = set(ids(chat.do(Understood(intent="search", words="blue ball", k="3"))))
    others = chat.say("others")
    assert others.answer.startswith("Nearest to “blue ball”:")
    assert not seen & set(ids(others))
    wooden = chat.say("only wooden ones")
    assert wooden.answer.startswith("Nearest to “blue ball” (wood")
    assert set(ids(wooden)) <= {"i1", "i3", "i5", "i7"}


def test_items_like_another_meet_what_is_asked_besides_and_go_on(chat: Conversation) -> None:
    chat.say("two things please")
    like = Understood(intent="more", item="i3", having=("rubber",), k="1")
    first = chat.do(like, said="one of rubber like i3")
    assert first.answer.startswith("Noted: more like Fine drum [i3]. Like it (rubber) are:")
    others = chat.say("others")
    assert others.answer.startswith("Like Fine drum [i3] (rubber) are:")
    assert {*ids(first), *ids(others)} == {"i6", "i8"}
    # A new request is about its own words alone.
    chat.say("what should I get")
    assert chat.do(Understood(intent="recommend", again=True, k="2")).answer.startswith("For ")


def test_a_price_in_two_ways_is_asked_about_before_a_wish_is_kept(chat: Conversation) -> None:
    chat.say("two things please")
    for wish in ({"item": "i3"}, {"having": ("red",)}):
        turn = chat.do(Understood(intent="more", under="twelve fifty", **wish))
        assert turn.answer == "By “twelve fifty”, do you mean 12.50 or 1250?"
    assert "you said" not in chat.say("who am i to you").answer


def test_others_after_a_picture_are_others_like_it(chat: Conversation) -> None:
    first = chat.say("like this", picture=_drawn((20, 160, 20)))
    lead = "Your picture shows toy: green. Nearest to it:"
    again = chat.do(Understood(intent="search", again=True))
    others = chat.say("others")
    assert first.answer.startswith(lead)
    assert again.answer.startswith(lead)
    assert not set(ids(first)) & set(ids(again))
    # All eight were shown by now, which is said; nobody is asked what it should be.
    assert others.answer.startswith("Sorry: no item here is left")
    # Another search is about its own words alone.
    assert chat.say("find a blue ball").answer.startswith("Nearest to “blue ball”:")
    assert chat.say("others").answer.startswith("Nearest to “blue ball”:")


def test_one_short_question_is_asked_where_it_decides(chat: Conversation) -> None:
    assert chat.say("find").answer.endswith("is enough.")
    assert "which" in chat.say("why").answer.casefold()


def test_what_is_no_answer_to_a_question_is_read_on_its_own(tmp_path: Path) -> None:
    def stuck(prompt: Prompt) -> str:
        # As a small model does: after a question, anything is an answer.
        asked = "Before: asked back about compare" in prompt.messages[1].text
        if said(prompt) == "how nice":
            return Understood(intent="compare" if asked else "other").compact
        return answering()(prompt)

    with (
        opened(tmp_path / "home", ScriptedEngine(answer=stuck, score=score)) as talks,
        talks.begin("ben") as chat,
    ):
        chat.say("what should I get")
        assert chat.say("compare them").answer.startswith("Which two?")
        assert chat.say("how nice").intent == "other"
        assert chat.say("compare them").answer.startswith("Which two?")
        assert ids(chat.say("compare duck and drum")) == ["i8", "i3"]


def test_criticism_changes_the_list_is_kept_and_taken_back(chat: Conversation) -> None:
    before = ids(chat.say("what should I get"))
    after = chat.say("never blue")
    assert {"i4", "i6"} <= set(before)
    assert not {"i4", "i6"} & set(ids(after))
    profile = chat.say("who am i to you")
    assert f"you said: never blue (chat {chat.thread}, turn 2)" in profile.answer
    assert "Taken back: never blue" in chat.say("undo").answer
    assert ids(chat.say("what should I get")) == before


def test_more_less_and_more_like_are_noted(chat: Conversation) -> None:
    assert "Noted: more red" in chat.say("more red").answer
    assert "Noted: less rubber" in chat.say("less rubber").answer
    like = chat.say("more like the first")
    assert "Noted: more like" in like.answer
    assert like.items
    chat.say("never blue")
    red = chat.do(Understood(intent="more", item="i3"), said="/more i3")
    assert red.items
    assert {"i4", "i5", "i6"}.isdisjoint(ids(red))
    chat.say("undo")
    chat.say("undo")
    assert "nothing to take back" not in chat.say("undo").answer


def test_a_place_alone_is_shown_and_keeps_no_wish(tmp_path: Path) -> None:
    # A small model reads a wish into a place that stands alone.
    eager = Understood(intent="more", item="the second one").compact
    with (
        opened(tmp_path / "home", engine({"the second one": eager})) as talks,
        talks.begin("ben") as chat,
    ):
        assert chat.say("the second one").answer.startswith("There is no list yet.")
        listed = chat.say("what should I get")
        turn = chat.say("the second one")
        assert (turn.intent, ids(turn)) == ("why", ids(listed)[1:2])
        assert "you said" not in chat.say("who am i to you").answer
        # As an answer to a question it is read as before.
        chat.say("what should I get")
        assert "of what" in chat.say("never again").answer
        assert chat.say("the second one").intent == "more"


def test_a_word_that_points_at_nothing_keeps_no_wish(tmp_path: Path) -> None:
    # A small model marks the `that` of a clause, or an article, as an item.
    dear, cheap = "show me things that cost less than the second", "less than the dear ones"
    readings = {
        dear: Understood(intent="less", item="that").compact,
        cheap: Understood(intent="less", item="the").compact,
        "less like that": Understood(intent="less", item="that").compact,
    }
    with opened(tmp_path / "home", engine(readings)) as talks, talks.begin("ben") as chat:
        chat.say("what should I get")
        first = chat.say("why the first").items[0]
        for unclear in (dear, cheap):
            answer = chat.say(unclear).answer
            assert "not clear which item you mean, and nothing was kept" in answer
        assert talks.home.feedback.of("ben") == []
        # What does point at something is taken as before.
        assert f"less like {first.title}" in chat.say("less like that").answer


def test_never_asks_of_what_and_takes_the_answer(chat: Conversation) -> None:
    chat.say("what should I get")
    assert "of what" in chat.say("never again").answer
    turn = chat.say("the robot")
    assert "Noted: never Fine robot [i4]" in turn.answer
    assert "i4" not in ids(turn)


def test_reasons_come_with_what_they_rest_on(chat: Conversation) -> None:
    listed = chat.say("what should I get")
    turn = chat.say("why the first")
    assert ids(turn) == ids(listed)[:1]
    # The number means nothing to a person; a program has it.
    assert "score" not in turn.answer
    assert turn.items[0].score is not None
    assert ids(chat.say("why")) == ids(turn)
    assert "no number 9" in chat.say("why 9").answer


def test_an_item_is_told_in_full_also_where_no_list_has_it(
    talks: Conversations, chat: Conversation
) -> None:
    words = "Made of soap and water. " * 40
    item = Item(item_id="s1", title="Bubbles", price=3.0, brand="Luma", categories=("Toys", "Wet"))
    home = talks.home
    home.catalogue.put_items([item.model_copy(update={"description": words})])
    told = chat.do(Understood(intent="why", item="Bubbles")).answer.splitlines()
    home.delete_item("s1")
    assert told[0] == "Bubbles [s1], 3.00"
    assert told[1].startswith("in no list of yours: it has no description yet")
    assert told[2:4] == ["category: Toys, Wet", "brand: Luma"]
    assert told[4].startswith("described: Made of soap and water. Made")
    assert len(told[4]) < 320
    known = chat.do(Understood(intent="why", item="rattle")).answer.splitlines()
    assert known[0] == "Fine rattle [i1], 20.00"
    assert "in no list of yours: it is in your history already" in known
    assert "described: Made of wood." in known


def test_a_number_is_a_place_of_the_list_before_it_is_an_id(
    tmp_path: Path, chat: Conversation
) -> None:
    with opened(tmp_path / "numbered") as talks:
        talks.home.catalogue.put_items([Item(item_id="2", title="Fine flute")])
        with talks.begin("ben") as numbered:
            assert "Fine flute" in numbered.do(Understood(intent="why_not", item="2")).answer
            listed = numbered.say("two things please")
            assert ids(numbered.do(Understood(intent="why", item="2"))) == ids(listed)[1:]
            assert "Fine flute" in numbered.do(Understood(intent="why_not", item="[2]")).answer


def test_a_number_that_is_the_place_of_no_list_may_be_of_a_title(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks:
        talks.home.catalogue.put_items(
            [
                Item(item_id="t825", title="Tango (825)"),
                Item(item_id="t9", title="Summit series 9"),
                Item(item_id="n7", title="Number 7"),
            ]
        )
        with talks.begin("ben") as chat:
            chat.say("two things please")
            for item, named in (("(825)", "Tango (825)"), ("number 7", "Number 7")):
                asked = Understood(intent="history", do="add", item=item)
                assert f"Added to your history, rated 5: {named}" in chat.do(asked).answer
            nine = chat.do(Understood(intent="history", do="add", item="9"))
            assert nine.answer == "Sorry: there is no number 9: the list ends at 2."


def test_why_not_says_what_rules_an_item_out_or_where_it_stands(chat: Conversation) -> None:
    assert "in your history already" in chat.say("why not the rattle").answer
    chat.say("never rubber")
    assert chat.say("why not the duck").answer == "Fine duck: you said never rubber."
    chat.say("undo")
    chat.say("something green under 30")
    assert "in the list, at 1" in chat.say("why not the duck").answer


def test_two_items_are_compared_by_their_values(chat: Conversation) -> None:
    turn = chat.say("compare duck and drum")
    assert ids(turn) == ["i8", "i3"]
    assert "both: nothing" in turn.answer
    assert "only Fine duck: duck, green, rubber" in turn.answer
    chat.say("what should I get")
    assert "Which two" in chat.say("compare them").answer


def test_a_comparison_asks_which_is_meant_of_each_and_takes_the_answers(tmp_path: Path) -> None:
    both = Understood(intent="compare", item="the cheapest", second="the dearest")
    readings = {"compare the cheapest and the dearest": both.compact}
    # After a question, a small model marks the one item twice.
    twice = Understood(intent="compare", item="fine duck", second="fine duck")
    readings |= {
        "fine duck": twice.compact,
        "compare the drum": Understood(intent="compare", item="the drum").compact,
    }
    with opened(tmp_path / "home", engine(readings)) as talks, talks.begin("ben") as chat:
        first, second = ids(chat.say("two things please"))
        asked = chat.say("compare the cheapest and the dearest").answer
        assert asked.startswith("By “the cheapest”, do you mean 1, Fine ")
        assert chat.say("1").answer.startswith("By “the dearest”, do you mean 1, Fine ")
        assert set(ids(chat.say("2"))) == {first, second}
        asked = chat.say("compare the drum").answer
        assert asked == "“the drum” with which other? A number of the list, or a title."
        assert set(ids(chat.say("fine duck"))) == {"i3", "i8"}


def test_an_item_compared_with_itself_is_asked_with_which_other(chat: Conversation) -> None:
    first, second = ids(chat.say("two things please"))
    asked = chat.do(Understood(intent="compare", item="the first", second="1")).answer
    assert asked == "“the first” with which other? A number of the list, or a title."
    assert set(ids(chat.say("2"))) == {first, second}


def test_what_is_not_understood_gets_an_honest_answer_with_a_question(chat: Conversation) -> None:
    turn = chat.say("what is the weather")
    assert turn.intent == "other"
    assert "What are you looking for?" in turn.answer
    assert "recommend" in chat.say("help").answer


def test_a_courtesy_gets_a_short_answer_and_no_list(tmp_path: Path) -> None:
    # A small model reads a wish for others into thanks.
    eager = {"thanks a lot!": Understood(intent="recommend", again=True).compact}
    with opened(tmp_path / "home", engine(eager)) as talks, talks.begin("ben") as chat:
        assert chat.say("hey there").answer.startswith("Hello. What are you looking for?")
        chat.say("two things please")
        assert chat.say("thanks a lot!").answer == "You are welcome."
        assert chat.say("thx bye").answer == "Goodbye."


def test_a_turn_can_be_done_without_understanding(chat: Conversation) -> None:
    chat.say("two things please")
    turn = chat.do(Understood(intent="why", item="2"), said="/why 2")
    assert turn.intent == "why"


def test_what_may_mean_several_is_asked_and_not_done(chat: Conversation) -> None:
    listed = ids(chat.do(Understood(intent="search", words="toy", k="half a dozen")))
    assert len(listed) == 6
    middle = chat.do(Understood(intent="never", item="the middle one"))
    assert middle.answer.startswith("By “the middle one”, do you mean 3, Fine ")
    assert chat.do(Understood(intent="never", item="the cheapest")).answer.startswith("By “the ch")
    assert "no 'seventh last'" in chat.do(Understood(intent="why", item="seventh last")).answer
    price = chat.do(Understood(intent="recommend", under="twelve fifty"))
    assert price.answer == "By “twelve fifty”, do you mean 12.50 or 1250?"
    assert "nothing to take back" in chat.do(Understood(intent="undo")).answer
    last = chat.do(Understood(intent="why_not", item="second from the bottom"))
    assert "in the list, at 5" in last.answer


def test_an_item_deleted_by_another_process_is_gone_from_a_talk(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("ben") as chat:
        chat.say("drop the rattle from it")
        listed = chat.do(Understood(intent="recommend", k="3"))
        first, second, _ = ids(listed)
        talks.home.delete_item(first)
        talks.home.delete_item("i1")
        gone = chat.do(Understood(intent="why_not", item="1"))
        assert f"no item has the id '{first}'" in gone.answer
        other = next(each for each in ("i2", "i4", "i6", "i8") if each not in ids(listed))
        assert "Held against" in chat.do(Understood(intent="why_not", item=f"[{other}]")).answer
        chat.say("undo")
        assert "i1" not in {each.item_id for each in talks.home.catalogue.history("ben")}
        assert second in ids(chat.say("what should I get"))
