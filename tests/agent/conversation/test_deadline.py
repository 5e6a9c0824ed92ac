"""A turn that takes longer than its caller would wait."""

import threading
from pathlib import Path

import pytest

from mllm_srec.agent.errors import DeadlineExceeded
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.shop import score, work_until_stopped

from .talk import FORMS, answering, guest, opened

PATIENCE_S = 60


@pytest.mark.parametrize("form", FORMS)
def test_a_late_turn_stops_the_engine_and_the_talk_goes_on(tmp_path: Path, form: str) -> None:
    begun, ended, rule_alone = threading.Event(), threading.Event(), threading.Event()
    rule = answering()

    def reply(prompt: Prompt) -> str:
        if rule_alone.is_set() or not prompt.messages[-1].text.startswith("Update what"):
            return rule(prompt)
        return work_until_stopped(begun, ended)

    with (
        opened(tmp_path / "home", ScriptedEngine(answer=reply, score=score)) as talks,
        talks.begin(guest(talks)) as chat,
    ):
        deadline_s = 0.3
        while not begun.is_set():  # a busy machine may be late
            with pytest.raises(DeadlineExceeded, match=f"within {deadline_s} s"):
                FORMS[form](chat, "what should I get", deadline_s=deadline_s)
            deadline_s *= 2
        assert ended.wait(PATIENCE_S)
        begun.clear()
        with pytest.raises(DeadlineExceeded):
            chat.say("what should I get", key="k", deadline_s=0.3)
        rule_alone.set()
        # The turn that was stopped does not stand in the way of its repetition.
        again = chat.say("what should I get", key="k", deadline_s=PATIENCE_S)
        assert (again.intent, len(again.items)) == ("recommend", 4)
        assert chat.say("what should I get", key="k") == again
        assert chat.say("help", deadline_s=PATIENCE_S).intent == "help"
        *late, _, _ = chat.turns()
        assert all(each.result and each.result["answer"] == "Stopped." for each in late)
