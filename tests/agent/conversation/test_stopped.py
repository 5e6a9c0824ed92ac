"""What stays of a turn that its user stops, or of which only a part can be done."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from queue import SimpleQueue

import pytest

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.events import Event, PartialAnswer
from mllm_srec.llm.engine import EngineLost, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.shop import score, work_until_stopped

from .talk import answering, ids, opened

WINDOW = "Update what"
REASON = "Say in one sentence"
PATIENCE_S = 120


class Halting(ScriptedEngine):
    """Works without end on prompts that begin in a certain way, until it is told to stop."""

    at = ""

    def __init__(self) -> None:
        rule = answering()
        self.begun, self.ended = threading.Event(), threading.Event()

        def reply(prompt: Prompt) -> str:
            if self.at and prompt.messages[1].text.startswith(self.at):
                work_until_stopped(self.begun, self.ended)
            return rule(prompt)

        super().__init__(answer=reply, score=score)

    def stop(
        self, chat: Conversation, text: str, *, at: str, parts: int = 0, key: str | None = None
    ) -> str:
        """Stop a turn where it asks such a prompt, after so many parts of its answer; the last."""
        told = SimpleQueue[str]()
        last = ""

        def tell(event: Event) -> None:
            if isinstance(event, PartialAnswer):
                told.put(event.text)

        self.at = at
        self.begun.clear()
        self.ended.clear()
        turn = chat.start(text, tell, key=key)
        assert self.begun.wait(PATIENCE_S)
        for _ in range(parts):
            last = told.get(timeout=PATIENCE_S)
        turn.cancel()
        assert self.ended.wait(PATIENCE_S)
        self.at = ""
        with pytest.raises(CancelledError):
            turn.result()
        return last


@pytest.fixture(scope="module")
def engine() -> Halting:
    return Halting()


@pytest.fixture
def talks(tmp_path: Path, engine: Halting) -> Iterator[Conversations]:
    with opened(tmp_path / "home", engine) as conversations:
        yield conversations


@pytest.fixture
def chat(talks: Conversations) -> Iterator[Conversation]:
    with talks.begin("ben") as conversation:
        yield conversation


def test_a_list_that_was_told_before_the_stop_is_the_list_that_is_meant(
    talks: Conversations, chat: Conversation, engine: Halting
) -> None:
    told = engine.stop(chat, "never blue", at=REASON, parts=2)
    why = chat.say("why the first")
    assert why.items[0].title in told.splitlines()[1]
    stopped = chat.turns()[0].result
    assert stopped
    assert (stopped["stopped"], stopped["intent"]) == (True, "never")
    assert stopped["answer"] == f"{told}\nStopped."
    # Its wish stands, and can be taken back.
    assert [each.subject for each in talks.srec.feedback_of("ben")] == ["blue"]
    assert chat.say("undo").answer == "Taken back: never blue."
    assert talks.srec.feedback_of("ben") == []
    assert "nothing to take back" in chat.say("undo").answer


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_turn_under_way_is_remembered_when_the_conversations_are_closed(
    tmp_path: Path, engine: Halting, cancelled: bool
) -> None:
    told = threading.Event()

    def tell(event: Event) -> None:
        if isinstance(event, PartialAnswer):
            told.set()

    with opened(tmp_path / "home", engine) as talks, talks.begin("ben") as chat:
        engine.at = REASON
        engine.begun.clear()
        turn = chat.start("two things please", tell)
        assert engine.begun.wait(PATIENCE_S)
        assert told.wait(PATIENCE_S)
        if cancelled:
            turn.cancel()
        talks.close()
        engine.at = ""
    with opened(tmp_path / "home", engine) as talks, talks.begin("ben", chat.thread) as again:
        [kept] = [kept.result for kept in again.turns()]
        assert kept
        assert kept["stopped"]
        assert again.say("why the first").items[0].title in kept["answer"].splitlines()[1]


def test_a_turn_that_is_stopped_early_keeps_its_wish_and_the_list_before(
    talks: Conversations, chat: Conversation, engine: Halting
) -> None:
    before = chat.say("find a blue ball")
    assert engine.stop(chat, "less rubber", at=WINDOW, parts=1) == "Noted: less rubber."
    assert ids(chat.say("why the first")) == ids(before)[:1]
    assert chat.say("undo").answer == "Taken back: less rubber."


def test_a_turn_that_is_stopped_before_it_is_understood_leaves_nothing(
    talks: Conversations, chat: Conversation, engine: Halting
) -> None:
    before = chat.say("find a blue ball")
    assert engine.stop(chat, "more red", at="What does the user want?") == ""
    assert ids(chat.say("why the first")) == ids(before)[:1]
    stopped = chat.turns()[1].result
    assert stopped
    assert (stopped["intent"], stopped["answer"]) == ("other", "Stopped.")
    assert talks.srec.feedback_of("ben") == []


def test_a_stopped_turn_that_is_worked_on_again_does_nothing_twice(
    talks: Conversations, chat: Conversation, engine: Halting
) -> None:
    engine.stop(chat, "never blue", at=REASON, parts=2, key="k")
    again = chat.say("never blue", key="k")
    assert (again.turn, again.stopped) == (1, False)
    assert again.answer.startswith("Noted: never blue. For you:")
    assert chat.say("undo").answer == "Taken back: never blue."
    assert "nothing to take back" in chat.say("undo").answer


def test_a_wish_of_a_turn_that_lost_its_engine_can_be_taken_back(tmp_path: Path) -> None:
    rule = answering()

    def reply(prompt: Prompt) -> str:
        if prompt.messages[1].text.startswith(WINDOW):
            raise EngineLost("the engine was killed")
        return rule(prompt)

    with (
        opened(tmp_path / "lost", ScriptedEngine(answer=reply, score=score)) as talks,
        talks.begin("ben") as chat,
    ):
        with pytest.raises(EngineLost):
            chat.say("never blue")
        assert chat.say("undo").answer == "Taken back: never blue."
        assert talks.srec.feedback_of("ben") == []


def test_a_question_that_a_stopped_turn_answered_is_not_open_any_more(
    chat: Conversation, engine: Halting
) -> None:
    assert "of what" in chat.say("never again").answer
    engine.stop(chat, "the robot", at=WINDOW, parts=1)
    chat.say("what is the weather")
    assert "Before: nothing" in engine.generated[-1].messages[1].text


def test_a_wish_after_which_no_list_is_left_is_told_and_can_be_taken_back(
    chat: Conversation,
) -> None:
    chat.say("something green under 30")
    for wish in ("never rubber", "never wood"):
        said = chat.say(wish)
    assert said.answer.startswith("Noted: never wood.\nSorry: no item here is green")
    assert chat.say("undo").answer == "Taken back: never wood."
