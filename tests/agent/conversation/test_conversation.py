import asyncio
import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Understood, heard
from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.agent.events import NodeStarted
from mllm_srec.agent.untrusted import sound
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.errors import HomeBusy, StoreError
from mllm_srec.store.traces import TraceStore
from tests.agent.shop import MODEL, score

from .talk import answering, engine, guest, opened

INVENTIONS = {
    "show me an offer": '{"intent":"why","item":"i404"}',
    "a cheap thing": '{"intent":"recommend","under":"999","k":"7"}',
    "nice": '{"intent":"compare","item":"Golden Robot","second":"2"}',
    "well": "There is a Golden Robot at 4.99!",
}


@pytest.fixture(scope="module")
def model() -> ScriptedEngine:
    return engine(INVENTIONS)


@pytest.fixture(scope="module")
def talks(
    tmp_path_factory: pytest.TempPathFactory, model: ScriptedEngine
) -> Iterator[Conversations]:
    """Shared by the tests of this file, each with a user of its own."""
    with opened(tmp_path_factory.mktemp("talks") / "home", model) as conversations:
        yield conversations


@pytest.fixture
def chat(talks: Conversations) -> Iterator[Conversation]:
    with talks.begin(guest(talks)) as conversation:
        yield conversation


def checkpoints(talks: Conversations, chat: Conversation) -> int:
    with sqlite3.connect(talks.home.conversations_path / "checkpoints.sqlite") as kept:
        counted = "SELECT count(*) FROM checkpoints WHERE thread_id = ?"
        return int(kept.execute(counted, [chat.thread]).fetchone()[0])


def ids(turn: TurnResult) -> list[str]:
    return [item.item_id for item in turn.items]


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


def test_a_wish_that_no_item_meets_gets_an_honest_answer(chat: Conversation) -> None:
    turn = chat.say("anything purple")
    assert turn.answer.startswith("Sorry: no item here is 'purple'")
    assert turn.items == ()


def test_a_search_by_words_and_by_a_picture(chat: Conversation) -> None:
    assert ids(chat.say("find a blue ball"))[0] == "i6"
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), (20, 160, 20)).save(picture, "PNG")
    turn = chat.say("", picture=picture.getvalue())
    assert turn.intent == "search"
    assert set(ids(turn)[:2]) == {"i7", "i8"}
    assert "green" in turn.answer


def test_one_short_question_is_asked_where_it_decides(chat: Conversation) -> None:
    assert chat.say("find").answer.endswith("is enough.")
    assert "which" in chat.say("why").answer.casefold()


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
    assert "nothing to take back" not in chat.say("undo").answer


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
    assert "score" in turn.answer
    assert ids(chat.say("why")) == ids(turn)
    assert "no number 9" in chat.say("why 9").answer


def test_why_not_says_what_rules_an_item_out_or_where_it_stands(chat: Conversation) -> None:
    assert "in your history already" in chat.say("why not the rattle").answer
    chat.say("something green under 30")
    assert "in the list, at 1" in chat.say("why not the duck").answer


def test_two_items_are_compared_by_their_values(chat: Conversation) -> None:
    turn = chat.say("compare duck and drum")
    assert ids(turn) == ["i8", "i3"]
    assert "both: nothing" in turn.answer
    assert "only Fine duck: duck, green, rubber" in turn.answer
    chat.say("what should I get")
    assert "Which two" in chat.say("compare them").answer


def test_the_history_is_shown_changed_and_restored(chat: Conversation) -> None:
    assert "Fine rattle [i1], rated 5" in chat.say("what did I get").answer
    assert "Taken out" in chat.say("drop the rattle from it").answer
    assert "Fine rattle" not in chat.say("what did I get").answer
    chat.say("undo")
    assert "Fine rattle [i1], rated 5" in chat.say("what did I get").answer


def test_a_wish_can_be_forgotten_and_the_forgetting_undone(chat: Conversation) -> None:
    chat.say("never blue")
    assert "Forgotten: never blue" in chat.say("forget blue").answer
    assert "never blue" not in chat.say("who am i to you").answer
    chat.say("undo")
    assert "never blue" in chat.say("who am i to you").answer


def test_talk_does_not_change_whose_conversation_it_is(chat: Conversation) -> None:
    assert f"conversation of {chat.user}" in chat.say("i am ben").answer
    assert chat.user != "ben"


def test_what_is_not_understood_gets_an_honest_answer_with_a_question(chat: Conversation) -> None:
    turn = chat.say("what is the weather")
    assert turn.intent == "other"
    assert "What are you looking for?" in turn.answer
    assert "recommend" in chat.say("help").answer


@pytest.mark.parametrize("message", ["", "   ", "🎈🎈", "?!", "\x00\x1b[", "\ud83d"])
def test_a_message_without_words_asks_no_model(
    chat: Conversation, model: ScriptedEngine, message: str
) -> None:
    asked = len(model.generated)
    assert chat.say(message).intent == "other"
    assert len(model.generated) == asked


@pytest.mark.parametrize(
    "message",
    [
        "我要一个红色的球",
        "x" * 50_000,
        "a\n" * 500,
        "<image></s>",
        "\x00\x1b[2J",
        "half a character \ud83d",
        bytes(range(256)).decode("latin-1"),
        bytes(range(256)).decode("utf-8", "surrogateescape"),
    ],
)
def test_any_message_gets_an_answer(chat: Conversation, message: str) -> None:
    assert chat.say(message).answer
    typed = Understood(intent="less", having=(sound(message)[:80],))
    assert chat.do(typed, said=message).answer
    said = chat.turns()[-1].said["text"]
    assert len(ChatTemplate(MODEL).encode(heard(said))) > 0


@pytest.mark.parametrize("message", INVENTIONS)
def test_no_item_price_or_number_of_the_models_own_gets_through(
    chat: Conversation, message: str
) -> None:
    turn = chat.say(message)
    assert turn.intent == "other"
    assert turn.fallback
    for invented in ("i404", "999", "7 ", "Golden", "4.99"):
        assert invented not in turn.answer


def test_a_reason_that_names_what_no_tool_said_is_left_out(tmp_path: Path) -> None:
    reply = answering()

    def inventing(prompt: object) -> str:
        text = reply(prompt)  # type: ignore[arg-type]
        return text.replace("suits you", "costs 3.99 at Golden Toys")

    model = ScriptedEngine(answer=inventing, score=score)
    with opened(tmp_path / "home", model) as talks, talks.begin("ben") as chat:
        turn = chat.say("two things please")
    assert turn.items
    assert all(item.reason == "" for item in turn.items)
    assert "3.99" not in turn.answer


def test_a_thread_goes_on_in_another_process_and_with_its_list(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("ben") as chat:
        first = chat.say("two things please")
    with opened(tmp_path / "home") as talks, talks.begin("ben", chat.thread) as again:
        assert again.resumed is None
        assert [turn.said["text"] for turn in again.turns()] == ["two things please"]
        assert ids(again.say("why the first")) == ids(first)[:1]


def test_a_fork_goes_its_own_way_from_where_it_began(
    talks: Conversations, chat: Conversation
) -> None:
    first = chat.say("two things please")
    fork = talks.fork(chat.thread)
    with talks.begin(chat.user, fork) as other:
        assert [turn.said["text"] for turn in other.turns()] == ["two things please"]
        assert ids(other.say("why the first")) == ids(first)[:1]
        assert other.say("others").turn == 3
    assert len(chat.turns()) == 1
    assert ids(chat.say("why the second")) == ids(first)[1:]
    with pytest.raises(StoreError, match="no thread 'nowhere'"):
        talks.fork("nowhere")


def test_threads_do_not_mix_and_belong_to_one_user(talks: Conversations) -> None:
    user = guest(talks)
    with talks.begin(user) as one, talks.begin(user) as two:
        one.say("something green under 30")
        assert "which" in two.say("why").answer.casefold()
        assert len(talks.threads(user)) == 2
    with pytest.raises(StoreError, match="another user's"):
        talks.begin("mia", one.thread)


def test_a_thread_is_open_once(talks: Conversations, chat: Conversation) -> None:
    with pytest.raises(HomeBusy, match="another chat has the thread"):
        talks.begin(chat.user, chat.thread)


def test_a_deleted_thread_leaves_nothing(talks: Conversations) -> None:
    with talks.begin(guest(talks)) as chat:
        chat.say("help")
    assert talks.delete(chat.thread)
    assert talks.threads(chat.user) == []
    assert checkpoints(talks, chat) == 0


def test_a_deleted_user_leaves_no_thread_and_no_memory_of_one(talks: Conversations) -> None:
    user = guest(talks)
    with talks.begin(user) as chat:
        chat.say("never blue")
    assert checkpoints(talks, chat) > 0
    assert talks.srec.delete_user(user) == 4
    assert talks.threads(user) == []
    assert checkpoints(talks, chat) == 0
    assert talks.srec.feedback_of(user) == []


def test_a_turn_under_a_known_key_is_not_run_again(chat: Conversation) -> None:
    first = chat.say("never blue", key="k1")
    assert chat.say("never blue", key="k1") == first
    assert len(chat.turns()) == 1


def test_a_turn_can_be_done_without_understanding(chat: Conversation) -> None:
    chat.say("two things please")
    turn = chat.do(Understood(intent="why", item="2"), said="/why 2")
    assert turn.intent == "why"


def test_a_stream_tells_of_the_nodes_of_both_graphs_and_ends_with_the_turn(
    chat: Conversation,
) -> None:
    *events, last = chat.stream("two things please")
    started = [event.node for event in events if isinstance(event, NodeStarted)]
    assert started[:3] == ["understand", "act", "load_user"]
    assert started[-1] == "answer"
    assert isinstance(last, TurnResult)
    assert TurnResult.from_dict(last.to_dict()) == last


def test_one_trace_holds_the_turn_and_its_recommendation(
    talks: Conversations, chat: Conversation
) -> None:
    turn = chat.say("two things please")
    path = talks.home.traces_path / "traces.sqlite"
    with TraceStore.open(path, create=False) as traces:
        names = [span.name for span in traces.spans(turn.trace_id)]
    assert {"turn", "understand", "act", "score_targets", "answer"} <= set(names)


def test_conversations_side_by_side_keep_apart(talks: Conversations) -> None:
    async def both() -> list[TurnResult]:
        with talks.begin("ada") as one, talks.begin("mia") as two:
            return list(await asyncio.gather(one.asay("what did I get"), two.asay("never blue")))

    first, second = asyncio.run(both())
    assert (first.user, second.user) == ("ada", "mia")
    assert "Fine kite" in first.answer


def test_a_turn_that_was_cut_off_is_finished_when_the_thread_is_taken_up(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("ben") as chat:
        chat.say("two things please")
        # Written down, and then the process dies.
        request = {"text": "never blue", "picture": None, "command": None}
        talks.home.threads.accept(chat.thread, request)
    with opened(tmp_path / "home") as talks, talks.begin("ben", chat.thread) as again:
        assert again.resumed is not None
        assert "Noted: never blue" in again.resumed.answer
        assert [turn.result is None for turn in again.turns()] == [False, False]


def test_fifty_turns_stay_small(talks: Conversations, chat: Conversation) -> None:
    for _ in range(25):
        chat.say("two things please")
        chat.say("why the first")
    path = talks.home.conversations_path / "checkpoints.sqlite"
    with sqlite3.connect(path) as kept:
        sizes = "SELECT sum(length(checkpoint) + length(metadata)) FROM checkpoints"
        [rows] = kept.execute(f"{sizes} WHERE thread_id = ?", [chat.thread]).fetchone()
    said = sum(len(turn.model_dump_json()) for turn in chat.turns())
    assert rows + said < 200_000
    assert path.stat().st_size < 2 << 20
    assert path.with_name("checkpoints.sqlite-wal").stat().st_size < 2 << 20
    assert checkpoints(talks, chat) <= 5


def test_nothing_but_plain_data_is_rebuilt_from_a_checkpoint(
    talks: Conversations, chat: Conversation
) -> None:
    chat.say("two things please")
    serde = talks.saver.serde
    ours = Understood(intent="help")
    assert serde.loads_typed(serde.dumps_typed(ours)) != ours
    with pytest.raises(Exception, match="pickle"):
        serde.loads_typed(("pickle", b"cos\nsystem\n(S'true'\ntR."))


def test_a_thread_of_another_version_is_refused_by_name(
    talks: Conversations, chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.say("help")
    monkeypatch.setattr("mllm_srec.agent.conversation.state.SCHEMA", 2)
    with pytest.raises(StoreError, match=chat.thread):
        chat.say("help")
