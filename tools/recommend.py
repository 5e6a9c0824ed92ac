"""Recommend and explain, as tools: the graph behind them is handed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mllm_srec.store.home import Home
from mllm_srec.tools.errors import WrongCall
from mllm_srec.tools.feedback import ruled_out_by
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.items import ItemCard, known_item

MAX_LIST = 50
"""Items of one list at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion(ItemCard):
    """An item that is recommended, and why."""

    rank: int
    score: float
    retrieval_rank: int
    reason: str
    evidence: tuple[str, ...] = ()
    """Ids of the user's items that the reason rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestions:
    """A list for one user."""

    user: str
    preference: str
    items: tuple[Suggestion, ...]
    tastes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The profile: `"loves red"` to the ids of the items that show it."""
    notes: tuple[str, ...] = ()
    trace_id: str = ""
    engine: str = ""


class Recommend(Protocol):
    """The recommendation graph, as the tools need it."""

    async def __call__(
        self,
        user_id: str,
        *,
        k: int,
        conditions: ItemFilter,
        candidates: Sequence[str] | None = None,
    ) -> Suggestions:
        """Recommend k items that meet the conditions; of these candidates alone, where given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one item stands among others, for one user."""

    suggestion: Suggestion | None
    """None where the item could not be ranked."""
    among: int
    """Items that were ranked with it, itself included."""
    why_not: str = ""
    """Why it could not be ranked."""


async def recommend(
    recommender: Recommend,
    user_id: str,
    *,
    k: int = 5,
    conditions: ItemFilter | None = None,
) -> Suggestions:
    """Recommend k items to a user, with reasons.

    Raises:
        WrongCall: k is not between 1 and `MAX_LIST`.
        CannotDo: No item meets the conditions.
    """
    if not 1 <= k <= MAX_LIST:
        raise WrongCall(f"k is {k!r}: ask for 1 to {MAX_LIST} items")
    return await recommender(user_id, k=k, conditions=conditions or ItemFilter())


async def explain(
    home: Home, recommender: Recommend, user_id: str, item_id: str, *, beside: Sequence[str] = ()
) -> Standing:
    """Where an item stands for a user, and why: ranked with the items beside it that are there.

    Raises:
        WrongCall: The item is unknown.
    """
    known_item(home, item_id)
    if any(one.item_id == item_id for one in home.catalogue.history(user_id)):
        return Standing(suggestion=None, among=0, why_not="it is in your history already")
    if wish := ruled_out_by(home, home.feedback.of(user_id), [item_id]).get(item_id):
        return Standing(suggestion=None, among=0, why_not=f"you said {wish}")
    if not home.catalogue.representations([item_id]):
        late = "it has no description yet: run `srec ingest` again"
        return Standing(suggestion=None, among=0, why_not=late)
    there = home.catalogue.items(beside)
    candidates = list(dict.fromkeys((item_id, *(each for each in beside if each in there))))
    found = await recommender(
        user_id, k=len(candidates), conditions=ItemFilter(), candidates=candidates
    )
    mine = next((each for each in found.items if each.item_id == item_id), None)
    if mine is None:
        return Standing(
            suggestion=None, among=len(found.items), why_not="a wish of yours rules it out"
        )
    return Standing(suggestion=mine, among=len(found.items))
