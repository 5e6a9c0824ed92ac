"""What is remembered of a user, shown and changed by talk."""

from pathlib import Path

from mllm_srec.agent.conversation.conversation import Conversation
from mllm_srec.agent.conversation.intents import Understood

from .talk import engine, ids, opened


def test_the_history_is_shown_changed_and_restored(chat: Conversation) -> None:
    assert "Fine rattle [i1], rated 5" in chat.say("what did I get").answer
    assert "Taken out" in chat.say("drop the rattle from it").answer
    assert "Fine rattle" not in chat.say("what did I get").answer
    chat.say("undo")
    assert "Fine rattle [i1], rated 5" in chat.say("what did I get").answer


def test_what_is_added_again_keeps_its_rating_and_titles_stand_in_what_is_taken_back(
    chat: Conversation,
) -> None:
    assert chat.say("I have the puzzle").answer == (
        "It was in your history, and is the newest now, rated 4 as before: Fine puzzle [i7]."
    )
    assert chat.say("undo").answer == "Taken back: adding Fine puzzle [i7]."
    new = chat.do(Understood(intent="history", do="add", item="i8"))
    assert new.answer == "Added to your history, rated 5: Fine duck [i8]."
    chat.do(Understood(intent="history", do="remove", item="i8"))
    gone = chat.do(Understood(intent="history", do="remove", item="i8"))
    assert gone.answer == "Sorry: Fine duck [i8] is not in your history."
    assert chat.say("undo").answer == "Taken back: removing Fine duck [i8]."


def test_the_profile_names_the_attribute_of_each_value_a_degree_a_line(
    chat: Conversation,
) -> None:
    lead, *lines = chat.say("who am i to you").answer.splitlines()
    assert lead == "What is known about you:"
    assert lines[0] == "lately strong: kind rattle, drum, puzzle; colour red, green; material wood"
    assert lines[1:] == [
        "loves: material wood; colour red",
        "   from Fine rattle, Fine drum and 2 more",
    ]


def test_a_wish_can_be_forgotten_and_the_forgetting_undone(chat: Conversation) -> None:
    chat.say("never blue")
    assert "Forgotten: never blue" in chat.say("forget blue").answer
    assert "never blue" not in chat.say("who am i to you").answer
    chat.say("undo")
    assert "never blue" in chat.say("who am i to you").answer


def test_talk_does_not_change_whose_conversation_it_is(chat: Conversation) -> None:
    assert "whose conversation this is" in chat.say("i am ben").answer
    assert chat.user != "ben"


def test_wishes_are_added_to_the_profile_and_taken_back_one_by_one(chat: Conversation) -> None:
    assert chat.say("what should I get").items
    before = ids(chat.say("what should I get"))
    added = chat.say("add wood but no rubber to my profile")
    assert added.answer == (
        "In your profile now: more wood; less rubber. For none at all, say “never rubber”."
    )
    assert added.items == ()
    known = chat.say("who am i to you").answer
    assert f"you said: more wood (chat {chat.thread}, turn 3)" in known
    assert f"you said: less rubber (chat {chat.thread}, turn 3)" in known
    after = ids(chat.say("what should I get"))
    # Two of rubber and one of steel: how far each falls depends on the calibration that ships.
    assert before.index("i8") < before.index("i4")
    assert after.index("i4") < after.index("i8")
    assert chat.say("undo").answer == "Taken back: less rubber."
    assert chat.say("undo").answer == "Taken back: more wood."
    assert "you said" not in chat.say("who am i to you").answer
    assert ids(chat.say("what should I get")) == before


def test_an_added_wish_is_forgotten_again(chat: Conversation) -> None:
    chat.say("add wood but no rubber to my profile")
    assert chat.say("forget wood").answer == "Forgotten: more wood."
    said = chat.say("who am i to you").answer
    assert "more wood" not in said
    assert "less rubber" in said
    assert "Add what?" in chat.say("add to my profile").answer


def test_what_only_the_history_shows_is_not_forgotten_but_the_way_is_named(
    chat: Conversation,
) -> None:
    answer = chat.say("forget wood").answer
    assert "you said nothing about wood" in answer
    assert "remove ... from my history" in answer


def test_a_wish_said_again_is_kept_once_and_what_takes_it_back_is_named(tmp_path: Path) -> None:
    # A small model reads the wish itself into a message that would be rid of it.
    message = "remove rubber from never list"
    wish = {message: Understood(intent="never", having=("rubber",)).compact}
    with opened(tmp_path / "home", engine(wish)) as talks, talks.begin("ben") as chat:
        chat.say("never rubber")
        answer = chat.say(message).answer
        assert answer.startswith(
            "You said “never rubber” before; “forget rubber” takes it back. For you:"
        )
        assert len(talks.home.feedback.of("ben")) == 1
        assert "Noted" not in answer
        liked = chat.do(Understood(intent="more", item="i6"))
        assert liked.answer.startswith("Noted: more like Fine ball [i6].")
        again = chat.do(Understood(intent="more", item="i6")).answer
        assert again.startswith("You said “more like Fine ball [i6]” before; “forget [i6]” takes")
        # Each wish was kept once, so that one undo, or one forgetting, is the end of it.
        chat.do(Understood(intent="profile", do="forget", having=("[i6]",)))
        assert [each.subject for each in talks.home.feedback.of("ben")] == ["rubber"]
        chat.do(Understood(intent="undo"))
        chat.do(Understood(intent="profile", do="forget", having=("fine ball",)))
        chat.do(Understood(intent="profile", do="forget", having=("rubber",)))
        assert talks.home.feedback.of("ben") == []


def test_a_vague_undo_takes_back_what_the_turn_before_it_did_and_nothing_older(
    tmp_path: Path,
) -> None:
    vague = {"never mind, i didnt": Understood(intent="undo").compact}
    with opened(tmp_path / "home", engine(vague)) as talks, talks.begin("ben") as chat:
        chat.say("never blue")
        chat.say("why 9")
        assert chat.say("never mind, i didnt").answer == (
            "What you said before changed nothing, so nothing is taken back.\n"
            "The newest that was kept here is: never blue. “undo” takes that back."
        )
        assert talks.home.feedback.of("ben")
        assert chat.say("undo").answer == "Taken back: never blue."
        chat.say("never blue")
        assert chat.say("never mind, i didnt").answer == "Taken back: never blue."
