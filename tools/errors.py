"""What can go wrong with a tool: the call was wrong, or it cannot be done."""

from typing import ClassVar, Literal

Failure = Literal["wrong_call", "cannot_do"]
"""The kinds of failure, as programs read them."""


class ToolError(Exception):
    """A tool did not do it; the message says why, and the way out."""

    kind: ClassVar[Failure]


class WrongCall(ToolError, ValueError):
    """The call was wrong: another one may succeed."""

    kind = "wrong_call"


class CannotDo(ToolError):
    """It cannot be done here: the same wish, put otherwise, will not succeed either."""

    kind = "cannot_do"
