"""How well a model understands turns: intents and slots, on phrasings that it has not seen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.conversation.intents import Understood, check_understood, heard
from mllm_srec.agent.conversation.nodes import MAX_TOKENS
from mllm_srec.finetune.data.utterances import Utterance, utterances
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.llm.structured import InvalidAnswer
from mllm_srec.store.validation import problems

UNSURE = ("other", "help")
"""Intents that do nothing but say what can be done."""


@dataclass(frozen=True, slots=True)
class Understanding:
    """What came out."""

    messages: int
    intent_accuracy: float
    slot_f1: float
    """Over all slots of all messages; a slot counts as found where its words are the same."""
    invalid_answers: int
    """Answers that could not be used: they count as `other` without slots."""
    wrong_actions: int
    """Messages after which something else is done than was meant: the worst that can happen."""
    wrongly_unsure: int
    """Messages that were meant as something, and were answered by help or a question instead."""

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)


def held_out_phrasings(count: int, *, seed: int = 11) -> list[Utterance]:
    """Messages of the phrasings that no training sees."""
    return list(utterances(count, seed=seed, part="held_out"))


class _Line(BaseModel):
    """One message of a file, with what it means."""

    before: str
    said: str
    understood: Understood


def hand_written(path: Path) -> list[Utterance]:
    """Messages written by hand: JSON lines of `before`, `said`, `understood`; blank ones between.

    Raises:
        FinetuneError: The file cannot be read, is empty, or a line is broken; the message names it.
    """
    try:
        # Not `splitlines`: a message may hold other line ends than that of a file.
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FinetuneError(
            f"the messages {str(path)!r} cannot be read ({error}): give a file of JSON lines"
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _Line.model_validate_json(line)
        except ValidationError as error:
            raise FinetuneError(
                f"{str(path)!r}, line {number}: {problems(error)[0].told}: write an object of "
                "`before`, `said`, `understood`"
            ) from error
        found.append(Utterance(row.before, heard(row.said), row.understood, "by hand"))
    if not found:
        raise FinetuneError(f"no messages in {str(path)!r}: give one JSON object a line")
    return found


async def measure(calls: Calls, messages: Sequence[Utterance]) -> Understanding:
    """Ask the model about each message once, without the repair that serving grants.

    Raises:
        ValueError: There are no messages.
    """
    if not messages:
        raise ValueError("there is nothing to measure on: give some messages")
    right = invalid = found = wanted = both = acted = unsure = 0
    for message, understood in zip(messages, await _understood(calls, messages), strict=True):
        invalid += understood is None
        said = understood or Understood(intent="other")
        if said.intent == message.understood.intent:
            right += 1
        elif said.intent in UNSURE:
            unsure += 1
        else:
            acted += 1
        mine, theirs = slots(said), slots(message.understood)
        found, wanted, both = found + len(mine), wanted + len(theirs), both + len(mine & theirs)
    return Understanding(
        messages=len(messages),
        intent_accuracy=right / len(messages),
        slot_f1=2 * both / (found + wanted) if found + wanted else 1.0,
        invalid_answers=invalid,
        wrong_actions=acted,
        wrongly_unsure=unsure,
    )


def slots(understood: Understood) -> set[tuple[str, str]]:
    """The slots of a turn with their words; case does not count."""
    named = understood.model_dump(exclude_defaults=True, exclude={"intent"})
    return {
        (name, str(word).casefold())
        for name, value in named.items()
        for word in (value if isinstance(value, tuple | list) else (value,))
    }


async def _understood(calls: Calls, messages: Sequence[Utterance]) -> list[Understood | None]:
    prompts = [message.prompt for message in messages]
    answers = await calls.generate(prompts, max_tokens=MAX_TOKENS)
    return [
        _checked(answer.text, message.said)
        for message, answer in zip(messages, answers, strict=True)
    ]


def _checked(text: str, said: str) -> Understood | None:
    try:
        return check_understood(text, said)
    except InvalidAnswer:
        return None
