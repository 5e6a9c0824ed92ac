"""Actions that give reasons: why, why not, compare."""

from collections.abc import Sequence
from textwrap import shorten

from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.shown import shown_card, shown_suggestion
from mllm_srec.agent.conversation.state import TurnUpdate
from mllm_srec.agent.conversation.turn import AskBack, Turn, outcome
from mllm_srec.tools.items import cards, item_details, known_item
from mllm_srec.tools.items import compare as compare_items
from mllm_srec.tools.recommend import explain

WHICH = "Which one? A number of the list, or a title."
DESCRIBED = 300
"""Characters of a description in an answer."""


async def why(turn: Turn) -> TurnUpdate:
    """An item in full: why it is in the list, what that rests on, and what the shop says of it."""
    item_id = await turn.item(turn.understood.item, question=WHICH)
    details = item_details(turn.home, item_id)
    shown, lines = next((each for each in turn.state.shown if each["item_id"] == item_id), None), []
    if shown is None or not shown["reason"]:
        standing = await explain(turn.home, turn.recommender(), turn.user_id, item_id)
        if standing.suggestion:
            shown = shown_suggestion(standing.suggestion)
        else:
            shown, lines = shown_card(details), [f"in no list of yours: {standing.why_not}"]
    lines += [f"rests on: {titles}"] if (titles := _titles(turn, shown["evidence"])) else []
    facts = {
        "category": ", ".join(details.categories),
        "brand": details.brand,
        "described": shorten(details.description, DESCRIBED, placeholder=" …"),
    }
    lines += [f"{name}: {fact}" for name, fact in facts.items() if fact]
    return {"outcome": outcome("", [shown], lines), "focus": item_id}


async def why_not(turn: Turn) -> TurnUpdate:
    """Why an item is not in the list: what rules it out, or where it would stand."""
    item_id = await turn.item(turn.understood.item, question=WHICH)
    known_item(turn.home, item_id)  # The list may be from before another process deleted it.
    [card] = cards(turn.home, [item_id])
    if item_id in turn.shown_ids:
        place = turn.shown_ids.index(item_id) + 1
        return {
            "outcome": outcome(f"{card.title} is in the list, at {place}."),
            "focus": item_id,
        }
    standing = await explain(
        turn.home, turn.recommender(), turn.user_id, item_id, beside=turn.shown_ids
    )
    if standing.suggestion is None:
        return {"outcome": outcome(f"{card.title}: {standing.why_not}."), "focus": item_id}
    rank, among = standing.suggestion.rank, standing.among
    if among == 1:
        lead = f"There is no list to hold {card.title} against."
    else:
        lead = f"Held against the {among - 1} of the list, {card.title} would be number {rank}."
    shown = shown_suggestion(standing.suggestion)
    return {"outcome": outcome(lead, [shown]), "focus": item_id}


async def compare(turn: Turn) -> TurnUpdate:
    """What two items share, and what only one of them has."""
    asked = turn.understood
    if not asked.item or not asked.second:
        ids = turn.shown_ids
        if one := asked.item or asked.second:
            raise _other(asked, one, one)
        if len(ids) != 2:
            raise AskBack("Which two? Two numbers of the list, or two titles.")
        first, second = ids
    else:
        first = await turn.item(asked.item, question=WHICH)
        try:
            second = await turn.item(asked.second, question=WHICH)
        except AskBack as question:
            # The answer names an item: it shall not take the place of the first.
            left = asked.model_copy(update={"item": "", "second": f"[{first}]"})
            raise AskBack(str(question), left) from question
    if first == second:
        raise _other(asked, asked.item, f"[{first}]")
    both = compare_items(turn.home, first, second)
    lines = [
        f"both: {', '.join(both.both) or 'nothing'}",
        f"only {both.first.title}: {', '.join(both.only_first) or 'nothing'}",
        f"only {both.second.title}: {', '.join(both.only_second) or 'nothing'}",
    ]
    if both.price_difference:
        cheaper, dearer = both.first, both.second
        if both.price_difference < 0:
            cheaper, dearer = dearer, cheaper
        lines.append(
            f"{dearer.title} costs {abs(both.price_difference):.2f} more than {cheaper.title}"
        )
    items = map(shown_card, cards(turn.home, [first, second]))
    return {"outcome": outcome("Side by side:", items, lines), "focus": None}


def _other(asked: Understood, words: str, second: str) -> AskBack:
    """With what shall an item be compared?

    Args:
        asked: The turn that names it.
        words: What it was called.
        second: What it is found by when the answer has come.
    """
    left = asked.model_copy(update={"item": "", "second": second})
    return AskBack(f"“{words}” with which other? A number of the list, or a title.", left)


def _titles(turn: Turn, item_ids: Sequence[str]) -> str:
    return ", ".join(card.named for card in cards(turn.home, item_ids))
