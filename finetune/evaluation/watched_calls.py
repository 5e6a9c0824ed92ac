"""Model calls with a count of what came back: how many answers, how many of no use."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.nodes.fuse_items import VisualAnswer
from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.llm.answer_schema import form_name
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import FusedItem

FORMS: tuple[type[BaseModel], ...] = (VisualAnswer, FusedItem, Preference, Profile)
_BY_NAME = {form.__name__: form for form in FORMS}


@dataclass(slots=True)
class AnswerCounts:
    """What became of the questions of the chain."""

    answers: int = 0
    """First answers."""
    invalid: int = 0
    """First answers that are no object of the asked form, cut ones included."""
    asked_again: int = 0
    """Questions asked a second time: the answer was invalid, or said what nothing supports."""
    fallbacks: int = 0
    """Questions whose second answer was of no use either: a plain form stands in."""

    def to_dict(self) -> dict[str, int]:
        """The counts by the names of the JSON."""
        return {
            "answers": self.answers,
            "invalid_answers": self.invalid,
            "asked_again": self.asked_again,
            "repaired": self.asked_again - self.fallbacks,
            "fallbacks": self.fallbacks,
        }


class WatchedCalls:
    """Passes calls on and counts; without the constraint, the engine is not held to the schema."""

    def __init__(self, inner: Calls, *, constrained: bool = True) -> None:
        self._inner = inner
        self._constrained = constrained
        self.counts = AnswerCounts()

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._inner.info

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""
        asked = prompts if self._constrained else [replace(each, schema=None) for each in prompts]
        answers = await self._inner.generate(asked, max_tokens=max_tokens)
        for prompt, answer in zip(prompts, answers, strict=True):
            # Only a question that is asked again shows the model its own answer.
            if any(message.role == "assistant" for message in prompt.messages):
                self.counts.asked_again += 1
                continue
            self.counts.answers += 1
            form = _BY_NAME.get(form_name(prompt.schema)) if prompt.schema else None
            self.counts.invalid += form is not None and not _fits(answer.text, form)
        return answers

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """See `Engine.score_labels`."""
        return await self._inner.score_labels(prompts, labels)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`."""
        return await self._inner.embed(texts)


def _fits(text: str, form: type[BaseModel]) -> bool:
    try:
        parse(text, form)
    except InvalidAnswer:
        return False
    return True
