"""What a turn asks for: an intent, and the user's own words for what it is about.

The model only marks what was said: every slot is copied from the message, and code reads numbers,
values and items from it. So nothing that the model makes up can become part of an action.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from mllm_srec.agent.nodes.fuse_items import one_line
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import Record

Intent = Literal[
    "recommend", "search", "more", "less", "never", "why", "why_not", "compare", "profile",
    "history", "undo", "user", "help", "other",
]  # fmt: skip

MAX_SAID = 300
"""Characters of a message that the model reads."""
Span = Annotated[str, Field(max_length=80)]
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
    having: tuple[Span, ...] = Field(default=(), max_length=4)
    without: tuple[Span, ...] = Field(default=(), max_length=4)
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

    def spans(self) -> list[str]:
        """Everything that was copied from the message."""
        single = (self.k, self.words, self.item, self.second, self.department)
        prices = (self.under, self.over)
        return [span for span in (*single, *prices, *self.having, *self.without) if span]

    def over_before(self, before: "Understood") -> Self:
        """This turn on top of an earlier one: what it names counts, the rest stays."""
        return self.model_copy(
            update={
                name: getattr(before, name)
                for name in Understood.model_fields
                if name not in ("intent", "again") and not getattr(self, name)
            }
        )


def schema() -> dict[str, Any]:
    """What guides the engine."""
    return Understood.model_json_schema()


def heard(said: str) -> str:
    """A message as the model reads it: one line, capped, no markup."""
    return one_line(said, MAX_SAID)


def check_understood(text: str, said: str) -> Understood:
    """Parse an answer and hold it against the message.

    Raises:
        InvalidAnswer: It is malformed, or names something that was not said.
    """
    understood = parse(text, Understood)
    message = said.casefold()
    for span in understood.spans():
        if span.casefold() not in message:
            raise InvalidAnswer(text, f"{span!r} was not said")
    return understood
