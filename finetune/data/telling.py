"""What a model says of histories on the way to a score: asked in batches, window after window."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from pydantic import BaseModel

from mllm_srec.agent.ask import Question
from mllm_srec.agent.nodes import profile_user, summarize_preferences
from mllm_srec.agent.results import Progress
from mllm_srec.finetune.data.model_historian import ModelHistorian
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.structured import InvalidAnswer

T = TypeVar("T", bound=BaseModel)


class Point(NamedTuple):
    """A moment in a history."""

    historian: ModelHistorian
    stop: int
    """Events before it."""


class Teller:
    """A model behind any engine that tells histories as it would when it serves."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(
        self,
        points: Sequence[Point],
        progress: Progress = lambda stage, done, total: None,
    ) -> list[bool]:
        """Ask for the windows and the profile of every point, and note them in the historians.

        Returns:
            Whether a point was told; one with an answer that is malformed or without evidence on
            its way is not.
        """
        deepest: dict[ModelHistorian, int] = {}
        for historian, stop in points:
            deepest[historian] = max(historian.whole_windows(stop), deepest.get(historian, 0))
        steps = max(deepest.values(), default=0) + 2
        for number in range(1, steps - 1):
            progress("tastes", number - 1, steps)
            self._tell_window(number, deepest)
        left = [p for p in points if p.historian.whole_windows(p.stop) in p.historian.states]
        progress("tastes", steps - 2, steps)
        preferences = self.ask(
            [historian.preference_question(stop) for historian, stop in left],
            summarize_preferences.MAX_TOKENS,
        )
        progress("tastes", steps - 1, steps)
        profiles = self.ask(
            [historian.profile_question(stop) for historian, stop in left],
            profile_user.MAX_TOKENS,
        )
        progress("tastes", steps, steps)
        for (historian, stop), preference, profile in zip(left, preferences, profiles, strict=True):
            if preference is not None and profile is not None:
                historian.preferences[stop] = preference
                historian.profiles[stop] = profile
        return [historian.is_told(stop) for historian, stop in points]

    def ask(self, questions: Sequence[Question[T]], max_tokens: int) -> list[T | None]:
        """What the model answers; None for what is malformed or without evidence."""
        answers = self._engine.generate(
            [question.prompt for question in questions], max_tokens=max_tokens
        )
        return [
            _checked(question, answer.text)
            for question, answer in zip(questions, answers, strict=True)
        ]

    def _tell_window(self, number: int, deepest: Mapping[ModelHistorian, int]) -> None:
        """Carry the preference through one whole window, all users together."""
        going = [
            historian
            for historian, last in deepest.items()
            if last >= number and number - 1 in historian.states
        ]
        answers = self.ask(
            [historian.state_question(number) for historian in going],
            summarize_preferences.MAX_TOKENS,
        )
        for historian, answer in zip(going, answers, strict=True):
            if answer is not None:
                historian.states[number] = answer


def _checked(question: Question[T], text: str) -> T | None:
    try:
        return question.check(text)
    except InvalidAnswer:
        return None
