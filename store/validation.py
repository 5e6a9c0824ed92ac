"""What pydantic found wrong, as it is told to a person."""

from typing import Any, NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong with some values."""

    place: str
    """Where: `"weights.model"`; empty where it is the whole."""
    what: str
    value: Any
    """What stands there."""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.place, self.what)))


def problems(error: Any) -> list[Problem]:
    """What a `ValidationError` names: of pydantic 2, or of 1, which LangChain has in places."""
    return [
        Problem(
            place=".".join(map(str, each["loc"])),
            # Pydantic says so in front of whatever a validator of ours says.
            what=each["msg"].removeprefix("Value error, "),
            value=each.get("input"),
        )
        for each in error.errors()
    ]


def faults(error: Any) -> str:
    """All that a `ValidationError` names, in one line."""
    return "; ".join(map(str, problems(error)))
