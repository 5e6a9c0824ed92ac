"""What is left out of a trace before it is written: secrets always, the rest as the file says."""

import os
import re
from collections.abc import Callable, Mapping

from openinference.semconv.trace import DocumentAttributes, EmbeddingAttributes, MessageAttributes
from openinference.semconv.trace import MessageContentAttributes as Content
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.tracing.attributes import (
    DROPPED,
    EDITS,
    IMAGE_URL,
    REDACTED,
    Attributes,
    as_json,
)
from mllm_srec.store.spans import Attribute
from mllm_srec.store.trace_settings import Part

SECRET = "[secret]"
"""Stands in the place of what looks like a key or a password."""
SHORTEST = 8
"""Characters of a secret in the environment that is looked for; shorter ones are common words."""
_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_PREFIXES = ("sk-", "sk_", "pk_", "hf_", "ghp_", "gho_", "ghs_", "glpat-", "xoxb-", "AKIA", "AIza")
"""How the keys of well-known services begin."""
_NAMED = "|".join(f"(?<={name}=)" for name in ("password", "api_key", "apikey", "token", "secret"))
_RULES = (
    ("@", re.compile(r"(?<=://)[^/\s@\"']+(?=@)")),  # user and password in an address
    ("earer ", re.compile(r"(?<=[Bb]earer )[\w.~+/-]{8,}=*")),
    ("=", re.compile(rf"(?i:{_NAMED})[^\s&\"']+")),
    *((start, re.compile(rf"\b{start}[-_A-Za-z0-9]{{16,}}")) for start in _PREFIXES),
)
"""A text that every match holds, so that most prompts cost no search, and the pattern."""
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
        planted = ((value, re.compile(re.escape(value))) for value in _planted(os.environ))
        self._secrets = (*planted, *_RULES)

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

    def message(self, text: str, user: str | None = None) -> str:
        """An error as it may be written: its kind alone where texts are left out."""
        if self.leaves_out("text"):
            return f"{text.partition(':')[0]}: {REDACTED}"
        text = self._masked(text)
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
        return self._named(self._masked(value), user)

    def _masked(self, text: str) -> str:
        for hint, pattern in self._secrets:
            if hint in text:
                text = pattern.sub(SECRET, text)
        return text

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


def _planted(environment: Mapping[str, str]) -> list[str]:
    """Values of the environment that are secrets by their name, the longest first."""
    found = {
        value
        for name, value in environment.items()
        if _SECRET_NAMES.search(name) and len(value) >= SHORTEST
    }
    return sorted(found, key=lambda value: (-len(value), value))
