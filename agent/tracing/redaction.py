"""What is left out of a trace before it is written: secrets always, the rest as the file says."""

import os
import re
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import replace

from openinference.semconv.trace import DocumentAttributes, EmbeddingAttributes, MessageAttributes
from openinference.semconv.trace import MessageContentAttributes as Content
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.deadline import passed_deadline
from mllm_srec.agent.tracing.attributes import (
    DROPPED,
    EDITS,
    IMAGE_URL,
    LATE,
    REDACTED,
    Attributes,
    as_json,
)
from mllm_srec.agent.tracing.masking import Masks
from mllm_srec.store.spans import Attribute, Span
from mllm_srec.store.trace_settings import Part

_TEXTS = (
    Names.INPUT_VALUE,
    Names.OUTPUT_VALUE,
    MessageAttributes.MESSAGE_CONTENT,
    Content.MESSAGE_CONTENT_TEXT,
    DocumentAttributes.DOCUMENT_ID,
    DROPPED,
    EDITS,
)
_PARTS: Mapping[Part, tuple[str, ...]] = {
    "text": _TEXTS,
    "pictures": (IMAGE_URL,),
    "vectors": (EmbeddingAttributes.EMBEDDING_VECTOR,),
}
"""How the attributes end that hold a part."""


class Redaction:
    """Cleans attributes and messages; nothing reaches a span but through it."""

    def __init__(self, parts: frozenset[Part], pseudonym: Callable[[str], str]) -> None:
        """Note what is to be left out.

        Args:
            parts: Beside secrets.
            pseudonym: What stands in the place of a user's id, when ids are left out.
        """
        self._parts = parts
        self._pseudonym = pseudonym
        self._names: dict[str, str] = {}
        self._ends = tuple(end for part in parts for end in _PARTS.get(part, ()))
        self._secrets = Masks(os.environ)

    def leaves_out(self, part: Part) -> bool:
        """Whether a part is left out."""
        return part in self._parts

    def attributes(self, given: Mapping[str, Attribute], user: str | None = None) -> Attributes:
        """Attributes as they may be written.

        Args:
            given: As they are.
            user: Whose run it is.
        """
        return {name: self._value(name, value, user) for name, value in given.items()}

    def message(self, error: BaseException, user: str | None = None) -> str:
        """An error as it may be written: its kind alone where texts are left out."""
        return self._message(_told(error), user)

    def span(self, span: Span, user: str | None = None) -> Span:
        """A span that was written already, as it may stay.

        Args:
            span: As it is.
            user: Whose run it is.
        """
        return replace(
            span,
            message=self._message(span.message, user) if span.message else "",
            attributes=self.attributes(span.attributes, user),
            events=tuple(
                replace(event, attributes=self.facts(event.attributes, user))
                for event in span.events
            ),
        )

    def _message(self, text: str, user: str | None) -> str:
        if self.leaves_out("text"):
            return f"{text.partition(':')[0]}: {REDACTED}"
        text = self._secrets.masked(text)
        if user and self.leaves_out("users"):
            # Words of ours, in which an id stands as it is.
            text = re.sub(rf"(?<!\w){re.escape(user)}(?!\w)", self._name(user), text)
        return text

    def facts(self, given: Mapping[str, Attribute], user: str | None = None) -> Attributes:
        """The facts of an event as they may be written."""
        if not self.leaves_out("text"):
            return self.attributes(given, user)
        return {n: REDACTED if isinstance(v, str) else v for n, v in given.items()}

    def _value(self, name: str, value: Attribute, user: str | None) -> Attribute:
        if self._ends and name.endswith(self._ends):
            return REDACTED
        if not isinstance(value, str):
            return value
        return self._named(self._secrets.masked(value), user)

    def _named(self, text: str, user: str | None) -> str:
        """The text with the user's pseudonym: where it is the id, or holds it as a JSON string."""
        if user is None or not self.leaves_out("users") or user not in text:
            return text
        name = self._name(user)
        return name if text == user else text.replace(as_json(user), as_json(name))

    def _name(self, user: str) -> str:
        if user not in self._names:
            self._names[user] = self._pseudonym(user)
        return self._names[user]


def _told(error: BaseException) -> str:
    """An error in words; what a deadline cancelled says so.

    Of what was stopped otherwise the words are the event loop's: none, or an object of its own.
    """
    if isinstance(error, CancelledError):
        seconds = passed_deadline()
        if seconds is not None:
            return f"{LATE}no answer within {seconds} s"
        return "CancelledError: stopped"
    return f"{type(error).__name__}: {error}"
