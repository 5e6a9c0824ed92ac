"""State of a conversation between turns: plain data, ids and short texts, nothing that grows."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from typing_extensions import TypedDict

from mllm_srec.agent.recommender import Recommender
from mllm_srec.store.errors import StoreError

SCHEMA = 1
"""Version of the state; a thread of another version is not taken up."""
UNDOABLE = 20
"""Last actions that can be taken back."""
PASSED = 100
"""Items remembered as shown before, so that `others` brings others."""


class Shown(TypedDict):
    """An item of the list on the screen."""

    item_id: str
    title: str
    line: str
    price: float | None
    score: float | None
    """None where a search brought it."""
    reason: str
    evidence: list[str]
    """Ids of the user's items that the reason rests on."""


Change = Literal["feedback", "added", "removed", "forgotten"]


class Done(TypedDict):
    """An action that can be taken back."""

    what: Change
    text: str
    """For the person: what is undone."""
    data: dict[str, Any]


class Outcome(TypedDict):
    """What a turn came to: facts from tools, in the order of the answer."""

    lead: str
    items: list[Shown]
    lines: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnState:
    """What the nodes read and write."""

    schema: int = SCHEMA
    user_id: str = ""
    thread_id: str = ""
    turn: int = 0

    said: str = ""
    picture: str | None = None
    """Content hash of a picture that was shown with the message."""
    command: dict[str, Any] | None = None
    """A turn that needs no understanding: a slash command, or a call from a program."""

    understood: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=lambda: Outcome(lead="", items=[], lines=[]))
    answer: str = ""
    fallback: bool = False
    """True where the model's answer could not be used, and the turn counts as not understood."""

    shown: list[Shown] = field(default_factory=list)
    """The list that `the second` means."""
    last: dict[str, Any] | None = None
    """The last request for a list."""
    last_picture: str | None = None
    """Content hash of the picture that it was about."""
    last_item: str | None = None
    """Id of the item that it was for the like of."""
    passed: list[str] = field(default_factory=list)
    """Ids of lists before, since the request was new."""
    focus: str | None = None
    """The item that `it` means."""
    asked: dict[str, Any] | None = None
    """The turn that was answered by a question."""
    done: list[Done] = field(default_factory=list)
    changed: int = 0
    """The turn that did the last of it."""

    @property
    def memory(self) -> dict[str, Any]:
        """What is left of the turns before, as the nodes of a turn find and change it."""
        names = (
            "shown", "last", "last_picture", "last_item", "passed", "focus", "asked", "done",
            "changed",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    @property
    def told(self) -> dict[str, Any]:
        """What came of the turn, as its trace keeps it."""
        items = [each["item_id"] for each in self.outcome["items"]]
        return {"intent": self.understood["intent"], "answer": self.answer, "items": items}


class TurnUpdate(TypedDict, total=False):
    """What a node may return."""

    understood: dict[str, Any]
    outcome: Outcome
    answer: str
    fallback: bool
    shown: list[Shown]
    last: dict[str, Any] | None
    last_picture: str | None
    last_item: str | None
    passed: list[str]
    focus: str | None
    asked: dict[str, Any] | None
    done: list[Done]
    changed: int


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What the nodes depend on; never checkpointed."""

    srec: Recommender
    so_far: TurnUpdate = field(default_factory=TurnUpdate)
    """What the turn has done already, written as it is done: it stays where the rest is stopped,
    or fails."""


def restored(values: dict[str, Any], thread_id: str) -> TurnState:
    """A stored state, checked.

    Raises:
        StoreError: It is of another version, or broken.
    """
    known = {each.name for each in fields(TurnState)}
    if values.get("schema") != SCHEMA or not set(values) <= known:
        raise StoreError(
            f"the thread {thread_id!r} was kept by another version: start a new one, what was "
            "said in it can still be read"
        )
    return TurnState(**values)
