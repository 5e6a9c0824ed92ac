"""Wishes of a user (more, less, never) and what they do to the next list.

- *never* a value, or an item: no such item can be a candidate.
- *more* of a value, or like an item: its words join the taste that retrieval looks near to, and
  each candidate gains up to `STEP` on the final score, by the share of the values it has.
- *less*: each candidate loses up to `STEP`, likewise.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

# Pydantic reads no other before Python 3.12.
from typing_extensions import TypedDict

from mllm_srec.store.feedback import STANCES, Feedback, Stance
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.items import known_item
from mllm_srec.tools.ranking import Ranked
from mllm_srec.tools.values import item_values, value_of

STEP = 2.0
"""How far a wish moves a candidate that meets it whole, in standard deviations of the final scores
of the user's candidates: from the middle of a list to its top. So it means the same whatever the
fitted weights are."""


class Wish(TypedDict):
    """A wish as the ranking reads it; plain data, so that it can stand in a graph's state."""

    steps: float
    """In standard deviations of the list's scores; above 0 for more, below for less."""
    values: list[str]


def give_feedback(
    home: Home,
    user_id: str,
    stance: Stance,
    value: str,
    *,
    origin: str,
    key: str | None = None,
) -> Feedback:
    """Keep that a user wants more, less or nothing of a value; the last word about it counts.

    The value is one of the shop's: `Vocabulary.value` finds it by the words of a person.

    Raises:
        WrongCall: The stance is none.
    """
    _check_stance(stance)
    return home.feedback.add(
        user_id, stance, "value", value, origin=origin, timestamp=int(time.time()), key=key
    )


def give_item_feedback(
    home: Home,
    user_id: str,
    stance: Stance,
    item_id: str,
    *,
    origin: str,
    key: str | None = None,
) -> Feedback:
    """Keep that a user wants more or less like an item, or never sees it again.

    Raises:
        WrongCall: The item is unknown, or the stance is none.
    """
    _check_stance(stance)
    known_item(home, item_id)
    return home.feedback.add(
        user_id, stance, "item", item_id, origin=origin, timestamp=int(time.time()), key=key
    )


def _check_stance(stance: str) -> None:
    if stance not in STANCES:
        raise WrongCall(f"stance is {stance!r}: say {', '.join(STANCES[:-1])} or {STANCES[-1]}")


def wish_text(home: Home, said: Feedback) -> str:
    """A wish in words: `never red`, `more like Maple train [t1]`."""
    if said.kind == "value":
        return f"{said.stance} {said.subject}"
    item = home.catalogue.item(said.subject)
    like = "" if said.stance == "never" else "like "
    return f"{said.stance} {like}{item.title if item else 'an item'} [{said.subject}]"


def undo_feedback(home: Home, user_id: str, feedback_id: int | None = None) -> Feedback:
    """Take a wish back: the one of that number, or the last one.

    Raises:
        CannotDo: There is nothing to take back, or the number is another user's.
    """
    said = {each.feedback_id: each for each in home.feedback.of(user_id)}
    chosen = max(said, default=None) if feedback_id is None else feedback_id
    if chosen not in said:
        raise CannotDo(
            f"{user_id!r} has no wish to take back"
            if feedback_id is None
            else f"{user_id!r} has no wish number {feedback_id!r}"
        )
    home.feedback.remove(said[chosen].feedback_id)
    return said[chosen]


def ruled_out(said: Iterable[Feedback]) -> ItemFilter:
    """What a user never wants, as conditions on items."""
    never = [each for each in said if each.stance == "never"]
    return ItemFilter(
        without=tuple(each.subject for each in never if each.kind == "value"),
        exclude=tuple(each.subject for each in never if each.kind == "item"),
    )


def unless_ruled_out(conditions: ItemFilter, never: ItemFilter) -> ItemFilter:
    """Conditions, and that an item is nothing of what the user ruled out.

    Raises:
        CannotDo: They ask for just that.
    """
    if both := [value for value in conditions.needed if value_of(value) in never.without]:
        raise CannotDo(f"you said never {both[0]}: take that back first")
    return conditions & never


def ruled_out_by(home: Home, said: Iterable[Feedback], item_ids: Collection[str]) -> dict[str, str]:
    """The wish that rules an item out, in words; items that none rules out are left out."""
    never = [each for each in said if each.stance == "never"]
    if not never or not item_ids:
        return {}
    fused = home.catalogue.representations(item_ids)
    found = {}
    for item_id, item in home.catalogue.items(item_ids).items():
        named = {"item": {item_id}, "value": item_values(item, fused.get(item_id))}
        mine = (wish_text(home, each) for each in never if each.subject in named[each.kind])
        if wish := next(mine, None):
            found[item_id] = wish
    return found


def wishes(home: Home, said: Iterable[Feedback]) -> list[Wish]:
    """What a user wants more and less of, as the ranking reads it."""
    chosen = [each for each in said if each.stance != "never"]
    items = home.catalogue.representations([each.subject for each in chosen if each.kind == "item"])
    found = []
    for each in chosen:
        if each.kind == "value":
            values = [each.subject]
        elif each.subject in items:
            values = [value_of(value) for value in items[each.subject].fused.facets()]
        else:
            continue
        found.append(Wish(steps=STEP if each.stance == "more" else -STEP, values=values))
    return found


def wanted_words(said: Sequence[Wish]) -> str:
    """What more is wanted of, as words for the taste query."""
    values = (value for wish in said if wish["steps"] > 0 for value in wish["values"])
    return ", ".join(dict.fromkeys(values))


def wish_steps(said: Sequence[Wish], item: FusedItem) -> float:
    """How far the wishes move an item: each by the share of its values that the item has."""
    values = frozenset(map(value_of, item.facets()))
    return sum(
        wish["steps"] * len(values & set(wish["values"])) / len(set(wish["values"]))
        for wish in said
    )


def granted(
    ranked: Sequence[Ranked], said: Sequence[Wish], items: Mapping[str, FusedItem]
) -> list[Ranked]:
    """The list as the wishes move it, in its new order; without wishes as it was."""
    if not said or not ranked:
        return list(ranked)
    # Equal scores have no deviation; any step then orders them.
    deviation = float(np.std([entry.score for entry in ranked])) or 1.0
    moved = [
        replace(
            entry,
            score=entry.score + deviation * wish_steps(said, items[entry.candidate.item_id]),
        )
        for entry in ranked
    ]
    moved.sort(key=lambda entry: (-entry.score, entry.candidate.item_id))
    return [replace(entry, rank=rank) for rank, entry in enumerate(moved, 1)]
