import asyncio
from collections.abc import Callable, Sequence

import pytest

from mllm_srec.agent.ask import Question, Reply, ask
from mllm_srec.agent.dispatch import AsyncEngine
from mllm_srec.finetune.evaluation.watched_calls import WatchedCalls
from mllm_srec.llm.answer_schema import answer_schema
from mllm_srec.llm.engine import Answer, Message, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import FusedItem

GOOD, EMPTY = '{"what":"ball"}', '{"what":"dream"}'


class Noting(ScriptedEngine):
    """Remembers whether it was held to a schema."""

    schemas: list[bool]

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        self.schemas = [
            *getattr(self, "schemas", []),
            *(prompt.schema is not None for prompt in prompts),
        ]
        return super().generate(prompts, max_tokens=max_tokens)


def check(text: str) -> FusedItem:
    fused = parse(text, FusedItem)
    if fused.what == "dream":
        raise InvalidAnswer(text, "nothing shows it")
    return fused


def asked(
    answer: Callable[[Prompt], str], names: Sequence[str], *, constrained: bool = True
) -> tuple[WatchedCalls, Noting, list[Reply[FusedItem]]]:
    engine = Noting(answer=answer)

    async def work() -> tuple[WatchedCalls, list[Reply[FusedItem]]]:
        calls = WatchedCalls(AsyncEngine(engine), constrained=constrained)
        questions = [
            Question(
                Prompt((Message("user", name),), answer_schema(FusedItem)),
                check,
                lambda: FusedItem(what="unknown"),
            )
            for name in names
        ]
        return calls, await ask(calls, questions, max_tokens=50)

    calls, replies = asyncio.run(work())
    return calls, engine, replies


def test_invalid_repaired_and_replaced_answers_are_told_apart() -> None:
    first = {"fine": GOOD, "mended": "no JSON", "empty": EMPTY, "lost": "no JSON"}
    second = {"mended": GOOD, "empty": GOOD, "lost": EMPTY}

    def answer(prompt: Prompt) -> str:
        known = first if len(prompt.messages) == 1 else second
        return known[prompt.messages[0].text]

    calls, _, replies = asked(answer, list(first))
    calls.counts.fallbacks = sum(reply.fallback for reply in replies)
    assert calls.counts.to_dict() == {
        "answers": 4,
        "invalid_answers": 2,
        "asked_again": 3,
        "repaired": 2,
        "fallbacks": 1,
    }


@pytest.mark.parametrize("constrained", [True, False])
def test_without_the_constraint_the_engine_gets_no_schema_but_the_form_is_held(
    constrained: bool,
) -> None:
    calls, engine, _ = asked(lambda prompt: "[]", ["x"], constrained=constrained)
    assert engine.schemas == [constrained, constrained]
    assert calls.counts.invalid == 1
