"""What pydantic found wrong, as it is told to a person."""

import re
import reprlib
from typing import Any, NamedTuple

_MISSING = "missing, give it"
_NOT_KNOWN = "not known, leave it out"
_KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "set": "a list",
    "frozen": "a list",
    "dict": "an object",
    "model": "an object",
    "dataclass": "an object",
}
"""What should stand there, by how the type of an error begins: `int_parsing`, `tuple_type`."""
_OF_A_KIND = re.compile(r"([a-z]+)_(set_)?(type|parsing|from_float|number)")
_IN_FRONT = re.compile(r"Value error, |\w+ (?=should )")
"""Pydantic's words before what a validator of ours says, and in place of the value."""


class Problem(NamedTuple):
    """One thing that is wrong with some values."""

    place: str
    """Where: `"weights.model"`; empty where it is the whole."""
    what: str
    """What is wrong with it, as words that follow a colon: `it should be a whole number`."""
    value: Any
    """What stands there."""

    def __str__(self) -> str:
        """Place and fault, without the value, which may be a secret."""
        return ": ".join(filter(None, (self.place, self.what)))

    @property
    def told(self) -> str:
        """Place, value and fault, to whoever gave the value."""
        if not self.place or self.what in (_MISSING, _NOT_KNOWN):
            return str(self)
        return f"{self.place} is {reprlib.repr(self.value)}: {self.what}"


def problems(error: Any) -> list[Problem]:
    """What a `ValidationError` names: of pydantic 2, or of 1, which LangChain has in places."""
    return [
        Problem(
            place=".".join(map(str, each["loc"])),
            what=_what(each["type"], each["msg"]),
            value=each.get("input"),
        )
        for each in error.errors()
    ]


def faults(error: Any) -> str:
    """All that a `ValidationError` names, in one line, with the values that were given."""
    return "; ".join(each.told for each in problems(error))


def _what(kind: str, message: str) -> str:
    if kind == "missing":
        return _MISSING
    if kind == "extra_forbidden":
        return _NOT_KNOWN
    named = _OF_A_KIND.fullmatch(kind)
    if named and named[1] in _KINDS:
        return f"it should be {_KINDS[named[1]]}"
    said = _IN_FRONT.sub("", message, count=1)
    return f"it {said}" if said.startswith("should ") else said
