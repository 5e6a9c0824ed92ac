"""Ask the model for typed answers: generate, check, repair once, else the counted plain form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.tracing.tracer import current_step
from mllm_srec.llm.engine import Message, Prompt
from mllm_srec.llm.structured import InvalidAnswer

T = TypeVar("T")

REFUSED, AGAIN = "That answer cannot be used: ", ". Answer again."
"""What stands around the problem in the message that asks for a repair; traces are read by it."""


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One typed question to the model."""

    prompt: Prompt
    check: Callable[[str], T]
    """Answer text to value; raises `InvalidAnswer` when it is malformed or without evidence."""
    plain: Callable[[], T]
    """The plain form that takes the place of an answer that stays invalid."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A checked answer."""

    value: T
    fallback: bool
    """True where the plain form stands in for the model's words."""


async def ask(
    calls: Calls,
    questions: Sequence[Question[T]],
    *,
    max_tokens: int,
) -> list[Reply[T]]:
    """Answer all questions in one batch, and repair the invalid ones in a second.

    A repair shows the model its answer and what is wrong with it. What is still invalid then
    becomes the question's plain form, marked as a fallback.
    """
    prompts = [question.prompt for question in questions]
    answers = await calls.generate(prompts, max_tokens=max_tokens)
    replies: dict[int, Reply[T]] = {}
    repairs: dict[int, Prompt] = {}
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        try:
            replies[index] = Reply(question.check(answer.text), fallback=False)
        except InvalidAnswer as error:
            repairs[index] = _repair(question.prompt, answer.text, str(error))
    if repairs:
        again = await calls.generate(list(repairs.values()), max_tokens=max_tokens)
        for index, answer in zip(repairs, again, strict=True):
            try:
                replies[index] = Reply(questions[index].check(answer.text), fallback=False)
            except InvalidAnswer as error:
                # The first refusal stands in the prompt of the repair; of this one nobody is told.
                if step := current_step():
                    step.event("plain form", refused=answer.text[:200], problem=str(error)[:200])
                replies[index] = Reply(questions[index].plain(), fallback=True)
    return [replies[index] for index in range(len(questions))]


def _repair(prompt: Prompt, text: str, problem: str) -> Prompt:
    turns = (
        Message("assistant", text),
        Message("user", f"{REFUSED}{problem[:200]}{AGAIN}"),
    )
    return replace(prompt, messages=(*prompt.messages, *turns))
