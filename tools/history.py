"""What a user did: shown, added to, taken back."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mllm_srec.store.home import Home
from mllm_srec.store.records import Interaction
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.items import ItemCard, cards, check_count, known_item

SCALE = (1.0, 5.0)
"""Ratings that any shop takes, lowest and highest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine(ItemCard):
    """One interaction."""

    rating: float | None = None
    timestamp: int | None = None
    """Seconds since 1970-01-01 UTC."""


def history(home: Home, user_id: str, *, count: int = 10) -> list[HistoryLine]:
    """The newest interactions of a user, oldest first.

    Raises:
        WrongCall: The count is not between 1 and `MAX_COUNT`.
    """
    check_count(count)
    newest = home.catalogue.history(user_id)[-count:]
    known = {card.item_id: card for card in cards(home, [one.item_id for one in newest])}
    return [
        HistoryLine(
            item_id=one.item_id,
            title=known[one.item_id].title,
            line=known[one.item_id].line,
            price=known[one.item_id].price,
            rating=one.rating,
            timestamp=one.timestamp,
        )
        for one in newest
        if one.item_id in known
    ]


def add_to_history(
    home: Home,
    user_id: str,
    item_id: str,
    *,
    rating: float | None = None,
    clock: Callable[[], float] = time.time,
) -> Interaction:
    """Add an interaction as the user's newest; one with the same item is replaced.

    Raises:
        WrongCall: The item is unknown, or the rating off the scale: that of `SCALE`, and as far
            beyond as ratings of the log go.
        HomeBusy: Another process writes to the home.
    """
    if rating is not None:
        _check_rating(home, rating)
    known_item(home, item_id)
    # From the reading on: another process could take the same position meanwhile.
    with home.lock():
        others = [one for one in home.catalogue.history(user_id) if one.item_id != item_id]
        # A log without times stays without: a single time would not order it.
        timed = not others or others[-1].timestamp is not None
        added = Interaction(
            user_id=user_id,
            item_id=item_id,
            position=others[-1].position + 1 if others else 0,
            rating=rating,
            timestamp=int(clock()) if timed else None,
        )
        home.catalogue.put_interactions([added])
    return added


def remove_from_history(home: Home, user_id: str, item_id: str) -> Interaction:
    """Take an interaction out and return it, so that it can be put back.

    Raises:
        CannotDo: The user had nothing to do with the item.
        HomeBusy: Another process writes to the home.
    """
    gone = home.catalogue.delete_interaction(user_id, item_id)
    if gone is None:
        named = next((card.named for card in cards(home, [item_id])), repr(item_id))
        raise CannotDo(f"{named} is not in your history")
    return gone


def _check_rating(home: Home, rating: float) -> None:
    low, high = SCALE
    if low <= rating <= high:
        return
    known = home.catalogue.rating_range() or SCALE
    low, high = min(low, known[0]), max(high, known[1])
    if not low <= rating <= high:
        raise WrongCall(f"rating is {rating!r}: give {low:g} to {high:g}, or none")
