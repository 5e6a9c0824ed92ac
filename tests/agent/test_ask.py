"""One question, one repair, then the counted form."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mllm_srec.agent.ask import Question, Reply, ask
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Message, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.llm.structured import InvalidAnswer

HELD = '{"title":"Number","type":"integer"}'


class Batches:
    """Calls that pass on to an engine and keep each batch."""

    def __init__(self, answer: Callable[[Prompt], str]) -> None:
        self.engine = ScriptedEngine(answer=answer)
        self.batches: list[tuple[Prompt, ...]] = []
        self.settings: list[tuple[int, str | None]] = []

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        self.batches.append(tuple(prompts))
        self.settings += [(max_tokens, prompt.schema) for prompt in prompts]
        return self.engine.generate(prompts, max_tokens=max_tokens)

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        return self.engine.score_labels(prompts, labels)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.engine.embed(texts)


def number(text: str) -> int:
    if not text.isdigit():
        raise InvalidAnswer(text, "it is no number")
    return int(text)


def question(name: str) -> Question[int]:
    prompt = Prompt((Message("system", "Count."), Message("user", name)), HELD)
    return Question(prompt=prompt, check=number, plain=lambda: -1)


def asked(
    script: Mapping[str, tuple[str, ...]], names: Sequence[str]
) -> tuple[Batches, list[Reply[int]]]:
    """Ask about names; a script says a name's first and second answer."""

    def answer(prompt: Prompt) -> str:
        turn = sum(message.role == "assistant" for message in prompt.messages)
        return script[prompt.messages[1].text][turn]

    calls = Batches(answer)
    questions = [question(name) for name in names]
    return calls, asyncio.run(ask(calls, questions, max_tokens=9))


def test_valid_answers_take_one_call() -> None:
    calls, replies = asked({"a": ("1",), "b": ("2",)}, ["a", "b"])
    assert replies == [Reply(1, False), Reply(2, False)]
    assert [len(batch) for batch in calls.batches] == [2]


def test_an_invalid_answer_is_repaired_once_with_what_was_wrong() -> None:
    calls, replies = asked({"a": ("one", "1"), "b": ("2",)}, ["a", "b"])
    assert replies == [Reply(1, False), Reply(2, False)]
    [_, [repair]] = calls.batches
    assert [message.role for message in repair.messages] == ["system", "user", "assistant", "user"]
    assert repair.messages[2].text == "one"
    assert repair.messages[3].text == (
        "That answer cannot be used: answer 'one' is not valid: it is no number. Answer again."
    )
    assert repair.messages[:2] == calls.batches[0][0].messages


def test_what_stays_invalid_becomes_the_counted_form_and_is_marked() -> None:
    calls, replies = asked({"a": ("one", "uno"), "b": ("2",)}, ["a", "b"])
    assert replies == [Reply(-1, True), Reply(2, False)]
    assert len(calls.batches) == 2


def test_the_repair_is_asked_with_the_same_limits() -> None:
    calls, _ = asked({"a": ("one", "1")}, ["a"])
    assert calls.settings == [(9, HELD)] * 2


def test_a_long_wrong_answer_is_described_in_short() -> None:
    calls, _ = asked({"a": ("x" * 5_000, "1")}, ["a"])
    assert len(calls.batches[1][0].messages[3].text) < 300


@given(st.lists(st.sampled_from(["good", "mended", "lost"]), max_size=12))
def test_replies_stand_in_the_order_of_the_questions(kinds: list[str]) -> None:
    names = [f"q{index}" for index in range(len(kinds))]
    script = {
        name: {"good": (str(n),), "mended": ("?", str(n)), "lost": ("?", "?")}[kind]
        for n, (name, kind) in enumerate(zip(names, kinds, strict=True))
    }
    calls, replies = asked(script, names)
    assert replies == [
        Reply(-1, True) if kind == "lost" else Reply(n, False) for n, kind in enumerate(kinds)
    ]
    repaired = [kind for kind in kinds if kind != "good"]
    assert [len(batch) for batch in calls.batches[1:]] == ([len(repaired)] if repaired else [])


def test_no_question_is_no_trouble() -> None:
    _, replies = asked({}, [])
    assert replies == []


def test_another_failure_than_an_invalid_answer_is_not_swallowed() -> None:
    def broken(text: str) -> int:
        raise LookupError(text)

    asking = ask(
        Batches(lambda prompt: "1"),
        [Question(prompt=question("a").prompt, check=broken, plain=lambda: 0)],
        max_tokens=9,
    )
    with pytest.raises(LookupError):
        asyncio.run(asking)
