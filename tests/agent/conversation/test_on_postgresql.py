"""Conversations of a home that is kept in PostgreSQL."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from mllm_srec.agent.conversation import postgresql as postgresql_saver
from mllm_srec.agent.conversation.checkpoints import Saver, open_saver
from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.run_turn import TurnRunner
from mllm_srec.store.errors import StoreError
from mllm_srec.store.threads import KeptTurn
from tests.postgresql import MISSING, PASSWORD, Server, binaries, running

from .talk import guest, opened

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


def kept_at(path: Path, url: str) -> Path:
    path.mkdir()
    (path / "srec.toml").write_text(f'database_url = "{url}"\n')
    return path


@pytest.fixture(scope="module")
def url(postgresql: Server) -> str:
    return postgresql.empty()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    return kept_at(tmp_path_factory.mktemp("talks") / "home", url)


@pytest.fixture(scope="module")
def talks(home: Path) -> Iterator[Conversations]:
    with opened(home) as conversations:
        yield conversations


@pytest.fixture
def chat(talks: Conversations) -> Iterator[Conversation]:
    with talks.begin(guest(talks)) as conversation:
        yield conversation


def remembered(url: str, chat: Conversation) -> dict[str, int]:
    """Rows about a thread, by table."""
    with psycopg.connect(url) as connection:
        counted = {
            table: connection.execute(
                f"SELECT count(*) FROM {table} WHERE thread_id = %s".encode(), (chat.thread,)
            ).fetchone()
            for table in TABLES
        }
    return {table: row[0] if row else -1 for table, row in counted.items()}


def test_nothing_of_the_shop_or_the_talk_lies_in_the_home(
    talks: Conversations, chat: Conversation
) -> None:
    assert len(chat.say("two things please").items) == 2
    assert "Noted: never blue" in chat.say("never blue").answer
    names = {path.name for path in talks.home.path.rglob("*.sqlite")}
    assert names == {"traces.sqlite"}


def test_a_thread_goes_on_in_another_process_and_with_its_list(
    postgresql: Server, tmp_path: Path
) -> None:
    path = kept_at(tmp_path / "home", postgresql.empty())
    with opened(path) as talks, talks.begin("ben") as chat:
        first = chat.say("two things please")
        request = {"text": "never blue", "picture": None, "command": None}
        talks.home.threads.accept(chat.thread, request)
    with opened(path) as talks, talks.begin("ben", chat.thread) as again:
        assert again.resumed is not None
        assert "Noted: never blue" in again.resumed.answer
        assert again.say("why the first").items[0].item_id == first.items[0].item_id


def test_a_thread_stays_small_and_goes_whole(
    talks: Conversations, url: str, chat: Conversation
) -> None:
    for _ in range(5):
        chat.say("two things please")
        chat.say("why the first")
    rows = remembered(url, chat)
    assert rows["checkpoints"] == 1
    assert rows["checkpoint_blobs"] < 20
    chat.close()
    talks.delete(chat.thread)
    assert remembered(url, chat) == dict.fromkeys(TABLES, 0)
    assert talks.threads(chat.user) == []


def test_a_deleted_user_leaves_nothing(talks: Conversations, url: str, chat: Conversation) -> None:
    chat.say("never blue")
    chat.close()
    talks.home.delete_user(chat.user)
    assert remembered(url, chat) == dict.fromkeys(TABLES, 0)
    assert talks.home.feedback.of(chat.user) == []


@pytest.mark.parametrize(
    "message", ["", "\x00\x1b[2J", "never\x00 blue", "\ud83d", "😀", "我要一个红色的球"]
)
def test_any_message_gets_an_answer(chat: Conversation, message: str) -> None:
    assert chat.say(message).answer
    [turn] = chat.turns()
    assert turn.result is not None


def test_a_conversation_outlives_a_restart_of_the_server(
    postgresql: Server, chat: Conversation
) -> None:
    chat.say("two things please")
    postgresql.cut()
    assert chat.say("why the first").intent == "why"


def test_nothing_but_plain_data_is_rebuilt_from_a_checkpoint(talks: Conversations) -> None:
    serde = talks.saver.serde
    ours = Understood(intent="help")
    assert serde.loads_typed(serde.dumps_typed(ours)) != ours
    with pytest.raises(Exception, match="pickle"):
        serde.loads_typed(("pickle", b"cos\nsystem\n(S'true'\ntR."))


def test_checkpointers_that_meet_a_new_database_at_once_all_get_it(postgresql: Server) -> None:
    async def opening(url: str) -> None:
        savers: list[Saver] = await asyncio.gather(*(open_saver(url) for _ in range(4)))
        for saver in savers:
            await saver.conn.close()

    for _ in range(3):
        asyncio.run(opening(postgresql.empty()))


def test_a_server_that_is_away_is_named_without_the_password() -> None:
    away = f"postgresql://srec:{PASSWORD}@127.0.0.1:9/shop"
    with pytest.raises(StoreError, match=r"'shop' answers .*port 9 failed") as refused:
        asyncio.run(open_saver(away))
    assert PASSWORD not in str(refused.value)


def test_without_the_extra_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mllm_srec.agent.conversation.postgresql", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg_pool", None)
    with pytest.raises(StoreError, match=r"pip install 'mllm-srec\[postgres\]'"):
        asyncio.run(open_saver("postgresql://srec@127.0.0.1:9/shop"))


@contextmanager
def held(url: str) -> Iterator[None]:
    """Another connection has the checkpoints locked."""
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_memory_that_stays_locked_is_an_error_in_words_and_no_turn_is_lost(
    postgresql: Server, tmp_path: Path
) -> None:
    url = postgresql.empty()
    impatient = url.replace("options=", "options=-clock_timeout%3D200%20", 1)
    with opened(kept_at(tmp_path / "home", impatient)) as talks, talks.begin("ben") as chat:
        first = chat.say("two things please")
        with held(url), pytest.raises(StoreError, match=r"could not be kept .*lock timeout"):
            chat.say("others", key="second")
        with held(url), pytest.raises(StoreError, match="lock timeout"):
            talks.fork(chat.thread)
        others = chat.say("others", key="second")
        assert others.turn == 2
        assert not {i.item_id for i in others.items} & {i.item_id for i in first.items}


def test_a_connection_that_is_lost_within_a_turn_is_an_error_in_words_and_no_turn_is_lost(
    postgresql: Server, tmp_path: Path
) -> None:
    url = postgresql.empty()
    with opened(kept_at(tmp_path / "home", url)) as talks, talks.begin("ben") as chat:
        chat.say("help")
        with closing(psycopg.connect(url)) as other:
            other.execute("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")
            waiting = chat.start("two things please", lambda event: None)
            while not waits_for_a_lock(postgresql):
                time.sleep(0.05)
            postgresql.cut()
            with pytest.raises(StoreError, match="could not be kept") as lost:
                waiting.result(timeout=60)
        assert PASSWORD not in str(lost.value)
        [_, cut_off] = chat.turns()
        assert cut_off.result is None
        thread = chat.thread
        chat.close()
        with talks.begin("ben", thread) as again:
            assert again.resumed is not None
            assert len(again.resumed.items) == 2


def test_a_server_that_stays_away_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = binaries()
    if programs is None:
        pytest.skip(MISSING)
    monkeypatch.setattr(postgresql_saver, "AWAY_S", 1.0)
    with ExitStack() as stack:
        server = stack.enter_context(running(programs))
        with opened(kept_at(tmp_path / "home", server.empty())) as talks:
            thread = talks.home.threads.start("t", "ben", now=1)
            runner = TurnRunner(talks.srec, talks.graph, talks.saver, thread, set())
            stack.close()
            request = {"text": "help", "picture": None, "command": None}
            with pytest.raises(StoreError, match="could not be kept"):
                talks.srec.deployment.run(runner.run(KeptTurn(turn=1, said=request)))


def waits_for_a_lock(server: Server) -> bool:
    with psycopg.connect(server.url()) as connection:
        asked = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )
        return asked.fetchone() != (0,)
