"""What a turn hands back: typed and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mllm_srec.agent.json_results import JsonResult


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
class TurnResult(JsonResult):
    """One turn of a conversation."""

    schema_version: ClassVar[int] = 1
    called: ClassVar[str] = "a turn"

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
    stopped: bool = False
    """True where its user stopped it, or it took too long: the answer is what there was by then."""
    seconds: float = 0.0


def turn_item(data: Mapping[str, Any]) -> TurnItem:
    """An item, rebuilt from plain JSON values."""
    return TurnItem(**{**data, "evidence": tuple(data["evidence"])})
