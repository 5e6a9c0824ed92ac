"""What a fork changes: fields of the state, and texts of the prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mllm_srec.agent.calls import Calls
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt
from mllm_srec.store.pictures import PictureStore
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.validation import problems

PICTURES = ("picture", "last_picture")
"""Fields that hold the content hash of a picture."""


def check_edits(edits: Mapping[str, Any], state: type, pictures: PictureStore) -> None:
    """Refuse fields that a state does not have, and values that are not theirs.

    Args:
        edits: Values by field.
        state: The dataclass that has them.
        pictures: Those that are kept.

    Raises:
        TraceError: Names the field, the place in it, and what stands there.
    """
    hints = get_type_hints(state)
    for name, value in edits.items():
        if name not in hints:
            raise TraceError(f"the state has no field {name!r}: it has {', '.join(hints)}")
        try:
            TypeAdapter[Any](hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            wrong = problems(error)[0]
            place = ".".join(filter(None, (name, wrong.place)))
            raise TraceError(f"the field {place!r}: {wrong.what}") from error
        if name in PICTURES and value is not None and value not in pictures:
            raise TraceError(f"the field {name!r}: no picture {value!r} is kept")


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
