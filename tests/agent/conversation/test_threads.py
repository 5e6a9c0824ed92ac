"""Threads: taken up, forked, deleted, kept small and apart."""

import asyncio
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from langgraph.checkpoint.base import id as checkpoint_ids

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.llm.engine import ModelError, Prompt
from mllm_srec.store.errors import HomeBusy, StoreError
from mllm_srec.tools.errors import WrongCall
from tests.store.conftest import picture

from .talk import FORMS, engine, guest, ids, opened


def checkpoints(talks: Conversations, chat: Conversation) -> int:
    with sqlite3.connect(talks.home.conversations_path / "checkpoints.sqlite") as kept:
        counted = "SELECT count(*) FROM checkpoints WHERE thread_id = ?"
        return int(kept.execute(counted, [chat.thread]).fetchone()[0])


def test_a_thread_goes_on_in_another_process_and_with_its_list(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("ben") as chat:
        first = chat.say("two things please")
    with opened(tmp_path / "home") as talks, talks.begin("ben", chat.thread) as again:
        assert again.resumed is None
        assert [turn.said["text"] for turn in again.turns()] == ["two things please"]
        assert ids(again.say("why the first")) == ids(first)[:1]


def test_a_thread_goes_on_where_the_clock_was_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "home") as talks, talks.begin("ben") as chat:
        first = chat.say("two things please")
    # Another process, an hour earlier.
    back = SimpleNamespace(time_ns=lambda: time.time_ns() - 3600 * 10**9)
    monkeypatch.setattr(checkpoint_ids, "time", back)
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", None)
    with opened(tmp_path / "home") as talks, talks.begin("ben", chat.thread) as again:
        others = again.say("others")
        assert not set(ids(others)) & set(ids(first))
        assert ids(again.say("why the first")) == ids(others)[:1]


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


def test_threads_are_opened_and_forked_from_an_event_loop(tmp_path: Path) -> None:
    async def talk(talks: Conversations) -> tuple[TurnResult | None, list[int]]:
        with await talks.abegin("ben") as chat:
            await chat.asay("two things please")
            with pytest.raises(HomeBusy, match="another chat has the thread"):
                await talks.abegin("ben", chat.thread)
            request = {"text": "never blue", "picture": None, "command": None}
            talks.home.threads.accept(chat.thread, request)
        with await talks.abegin("ben", chat.thread) as again:
            fork = await talks.afork(again.thread)
        with await talks.abegin("ben", fork) as other:
            await other.asay("others")
            return again.resumed, [len(each.turns()) for each in (again, other)]

    with opened(tmp_path / "home") as talks:
        resumed, turns = asyncio.run(talk(talks))
        with pytest.raises(StoreError, match="no thread 'nowhere'"):
            asyncio.run(talks.afork("nowhere"))
    assert resumed is not None
    assert "Noted: never blue" in resumed.answer
    assert turns == [2, 3]


def test_a_turn_that_the_model_refuses_does_not_close_the_thread(tmp_path: Path) -> None:
    def refusing(_: Prompt) -> str:
        raise ModelError("a prompt does not fit")

    model = engine()
    with opened(tmp_path / "home", model) as talks:
        with talks.begin("ben") as chat:
            model.answer, answer = refusing, model.answer
            with pytest.raises(ModelError, match="does not fit"):
                chat.say("two things please")
        with talks.begin("ben", chat.thread) as again:
            assert again.resumed is None
            assert again.turns()[0].result is None
            model.answer = answer
            assert again.say("two things please").turn == 2


def test_a_conversation_is_of_a_user(talks: Conversations) -> None:
    with pytest.raises(WrongCall, match="the user is '': give an id"):
        talks.begin("")


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


def test_a_thread_that_is_open_is_not_deleted(talks: Conversations, chat: Conversation) -> None:
    chat.say("help")
    with pytest.raises(HomeBusy, match="close the conversation first"):
        talks.delete(chat.thread)
    assert len(chat.turns()) == 1
    assert not talks.delete("none-of-this-name")


def test_a_closed_conversation_takes_no_turn(talks: Conversations) -> None:
    user = guest(talks)
    with talks.begin(user) as chat:
        chat.say("help")
    with pytest.raises(StoreError, match="was closed: begin it again"):
        chat.say("help")
    with talks.begin(user, chat.thread) as again:
        assert len(again.turns()) == 1


def test_a_deleted_user_leaves_no_thread_no_memory_and_no_picture(talks: Conversations) -> None:
    user = guest(talks)
    with talks.begin(user) as chat:
        chat.say("never blue")
        chat.say("", picture=picture("olive"))
    [kept] = [turn.said["picture"] for turn in chat.turns() if turn.said["picture"]]
    assert kept in talks.home.pictures
    assert checkpoints(talks, chat) > 0
    assert talks.srec.delete_user(user) == 4
    assert talks.threads(user) == []
    assert checkpoints(talks, chat) == 0
    assert talks.srec.feedback_of(user) == []
    assert kept not in talks.home.pictures


def test_a_user_who_is_talking_is_not_deleted(talks: Conversations) -> None:
    user = guest(talks)
    with talks.begin(user) as chat:
        chat.say("never blue")
        with pytest.raises(HomeBusy, match=f"thread '{chat.thread}' is open"):
            talks.srec.delete_user(user)
        assert [each.subject for each in talks.srec.feedback_of(user)] == ["blue"]
        chat.say("help")
    talks.srec.delete_user(user)
    assert checkpoints(talks, chat) == 0
    assert chat.turns() == []
    assert not Path(talks.home.thread_lock(chat.thread).lock_file).exists()


def test_a_thread_in_which_nothing_is_said_leaves_nothing(talks: Conversations) -> None:
    user = guest(talks)
    with talks.begin(user) as chat:
        lock = Path(talks.home.thread_lock(chat.thread).lock_file)
        assert lock.exists()
        assert talks.threads(user) == []
    assert talks.threads(user) == []
    assert not lock.exists()
    with talks.begin(user, chat.thread) as again:
        again.say("help")
        [kept] = talks.threads(user)
    assert (kept.thread_id, kept.turns) == (chat.thread, 1)
    chat.close()
    assert lock.exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_turn_under_a_known_key_is_not_run_again(chat: Conversation, form: str) -> None:
    first = FORMS[form](chat, "never blue", key="k1")
    assert FORMS[form](chat, "never blue", key="k1") == first
    assert chat.say("never blue", key="k1") == first
    assert len(chat.turns()) == 1


def test_conversations_side_by_side_keep_apart(talks: Conversations) -> None:
    async def both() -> list[TurnResult]:
        with talks.begin("ada") as one, talks.begin("mia") as two:
            return list(await asyncio.gather(one.asay("what did I get"), two.asay("never blue")))

    first, second = asyncio.run(both())
    assert (first.user, second.user) == ("ada", "mia")
    assert "Fine kite" in first.answer


def test_a_turn_without_words_runs_beside_others(chat: Conversation) -> None:
    async def work() -> TurnResult:
        return await chat.ado(Understood(intent="history"), said="/history")

    assert asyncio.run(work()).answer == chat.do(Understood(intent="history")).answer


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
