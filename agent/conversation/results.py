"""What a turn hands back: typed and frozen, and the JSON that it becomes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

SCHEMA = 1
"""Version of the JSON form of a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnItem:
    """An item of an answer, from a tool."""

    item_id: str
    title: str
    line: str = ""
    price: float | None = None
    score: float | None = None
    """None where a search brought it."""
    reason: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """One turn of a conversation."""

    turn: int
    thread: str
    user: str
    said: str
    intent: str
    answer: str
    """Never empty."""
    items: tuple[TurnItem, ...] = ()
    trace_id: str = ""
    engine: str = ""
    fallback: bool = False
    """True where the model's reading could not be used, and the turn counts as not understood."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The turn as plain JSON values, with its schema number."""
        data = asdict(self)
        data["items"] = [{**each, "evidence": list(each["evidence"])} for each in data["items"]]
        return {"schema": SCHEMA, **data}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: It is of another schema.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(
                f"this is schema {data.get('schema')!r} of a turn, this version reads {SCHEMA}"
            )
        items = tuple(map(turn_item, data["items"]))
        return cls(**{**{n: v for n, v in data.items() if n != "schema"}, "items": items})


def turn_item(data: Mapping[str, Any]) -> TurnItem:
    """An item, rebuilt from plain JSON values."""
    return TurnItem(**{**data, "evidence": tuple(data["evidence"])})
