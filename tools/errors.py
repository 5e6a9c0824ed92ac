"""What can go wrong with a tool: the call was wrong, or it cannot be done."""


class ToolError(Exception):
    """A tool did not do it; the message says why, and the way out."""


class WrongCall(ToolError):
    """The call was wrong: another one may succeed."""


class CannotDo(ToolError):
    """It cannot be done here: the same wish, put otherwise, will not succeed either."""
