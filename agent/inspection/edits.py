"""What a fork changes: fields of the state, and texts of the prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.state import State
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt
from mllm_srec.store.trace_schema import TraceError

_JSON = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}
"""What JSON calls the values of a type."""


def check_edits(edits: Mapping[str, Any]) -> None:
    """Refuse fields that the state does not have, and values of another JSON type than theirs.

    Raises:
        TraceError: Names the field, and what it takes.
    """
    hints = get_type_hints(State)
    for name, value in edits.items():
        if name not in hints:
            raise TraceError(f"the state has no field {name!r}: it has {', '.join(hints)}")
        taken = list(dict.fromkeys(_taken(hints[name])))
        if (given := _JSON[type(value)]) not in taken:
            raise TraceError(f"the field {name!r} takes {' or '.join(taken)}, not {given}")


def _taken(hint: Any) -> list[str]:
    """What JSON calls the values that a type hint allows."""
    if get_origin(hint) is UnionType:
        return [name for each in get_args(hint) for name in _taken(each)]
    if get_origin(hint) is Literal:
        return [_JSON[type(each)] for each in get_args(hint)]
    return [_JSON[get_origin(hint) or hint]]


class EditedCalls:
    """Passes calls on with texts of their prompts replaced."""

    def __init__(self, inner: Calls, replacements: Sequence[tuple[str, str]]) -> None:
        self._inner = inner
        self._replacements = replacements
        self._used: set[str] = set()

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._inner.info

    @property
    def unused(self) -> list[str]:
        """Texts that no prompt held so far."""
        return [old for old, _ in self._replacements if old not in self._used]

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""
        edited = [self._edited(prompt) for prompt in prompts]
        return await self._inner.generate(edited, max_tokens=max_tokens)

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """See `Engine.score_labels`."""
        return await self._inner.score_labels([self._edited(prompt) for prompt in prompts], labels)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`; texts to embed are no prompts."""
        return await self._inner.embed(texts)

    def _edited(self, prompt: Prompt) -> Prompt:
        made, used = edited(prompt, self._replacements)
        self._used |= used
        return made


def edited(prompt: Prompt, replacements: Sequence[tuple[str, str]]) -> tuple[Prompt, set[str]]:
    """A prompt with texts replaced, one after the other, and those that it held."""
    messages, used = prompt.messages, set()
    for old, new in replacements:
        if any(old in message.text for message in messages):
            used.add(old)
            messages = tuple(
                replace(message, text=message.text.replace(old, new)) for message in messages
            )
    return replace(prompt, messages=messages), used
