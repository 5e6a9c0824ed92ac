"""What a turn asks for: an intent, and the user's own words for what it is about.

The model only marks what was said: every slot is copied from the message, and code reads numbers,
values and items from it. So nothing that the model makes up can become part of an action.
"""

import json
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field

from mllm_srec.agent.conversation.reading import Reading
from mllm_srec.agent.nodes.fuse_items import one_line
from mllm_srec.llm.answer_schema import spans
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import Record

Intent = Literal[
    "recommend", "search", "more", "less", "never", "why", "why_not", "compare", "profile",
    "history", "undo", "user", "help", "other",
]  # fmt: skip

MAX_SAID = 300
"""Characters of a message that the model reads."""
MAX_SPAN = 80
"""Characters of what is copied from it."""
MAX_VALUES = 4
"""Values, as spans, that are asked for or ruled out."""
Span = Annotated[str, Field(max_length=MAX_SPAN)]
"""Words copied from the message; empty where nothing was said."""


class Understood(Record):
    """A turn, understood."""

    intent: Intent
    again: bool = False
    """True where it changes what was asked before: `in blue instead`, `cheaper`."""
    k: Span = ""
    """How many: `five`, `3`."""
    words: Span = ""
    """What to search for."""
    item: Span = ""
    """An item: `2`, `the second`, `it`, a title."""
    second: Span = ""
    """The other item of a comparison."""
    having: tuple[Span, ...] = Field(default=(), max_length=MAX_VALUES)
    without: tuple[Span, ...] = Field(default=(), max_length=MAX_VALUES)
    department: Span = ""
    under: Span = ""
    """A price: `20 bucks`."""
    over: Span = ""
    do: Literal["", "add", "remove", "forget"] = ""
    """What to do with the history or the profile; empty to show it."""

    @property
    def compact(self) -> str:
        """JSON as the model is taught to write it: nothing that was not said."""
        said = {"intent": self.intent, **self.model_dump(exclude_defaults=True)}
        return json.dumps(said, ensure_ascii=False, separators=(",", ":"))

    @property
    def writes(self) -> bool:
        """Whether acting on it may change what is kept of the user."""
        return bool(self.do) or self.intent in ("more", "less", "never", "undo")

    def spans(self) -> list[str]:
        """Everything that was copied from the message."""
        named = (getattr(self, name) for name in SPANS)
        return [
            span
            for value in named
            for span in ((value,) if isinstance(value, str) else value)
            if span
        ]

    def with_spans(self, change: Callable[[str], str]) -> Self:
        """This turn with each part that was copied from the message changed."""
        named = {name: getattr(self, name) for name in SPANS}
        return self.model_copy(
            update={
                name: change(value) if isinstance(value, str) else tuple(map(change, value))
                for name, value in named.items()
            }
        )

    def over_before(self, before: "Understood") -> Self:
        """This turn on top of an earlier one: what it names counts, the rest stays."""
        return self.model_copy(
            update={
                name: getattr(before, name)
                for name in Understood.model_fields
                if name not in ("intent", "again") and not getattr(self, name)
            }
        )


SPANS = (
    "k", "words", "item", "second", "having", "without", "department", "under", "over",
)  # fmt: skip
"""Fields of `Understood` that are copied from the message."""


def heard(said: str) -> str:
    """A message as one line, capped, no markup."""
    return one_line(said, MAX_SAID)


def said_spans(said: str) -> list[str]:
    """Everything that can be copied from a message."""
    return list(spans(said, pieces=MAX_SPAN, characters=MAX_SPAN))


def check_understood(text: str, said: str) -> Understood:
    """Parse an answer, and put the message's own spelling in the place of what it copies.

    Raises:
        InvalidAnswer: It is malformed, or names something that was not said.
    """
    understood, reading = parse(text, Understood), Reading.of(said)

    def spelled(span: str) -> str:
        if not span:
            return span
        if (typed := reading.typed(Reading.of(span).text)) is None:
            raise InvalidAnswer(text, f"{span!r} was not said")
        return typed

    return understood.with_spans(spelled)
