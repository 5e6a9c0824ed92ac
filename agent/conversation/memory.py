"""Actions on what is remembered of a user, and those that only talk."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from mllm_srec.agent.conversation.courtesy import Courtesy, courtesy
from mllm_srec.agent.conversation.reading import small
from mllm_srec.agent.conversation.reasons import WHICH
from mllm_srec.agent.conversation.state import Change, Done, TurnUpdate
from mllm_srec.agent.conversation.turn import AskBack, Turn, outcome
from mllm_srec.agent.conversation.wishes import keep_wish, wish_done
from mllm_srec.store.feedback import Feedback, Stance
from mllm_srec.store.records import Interaction
from mllm_srec.tools.errors import CannotDo
from mllm_srec.tools.feedback import undo_feedback, wish_text
from mllm_srec.tools.history import add_to_history, remove_from_history
from mllm_srec.tools.history import history as read_history
from mllm_srec.tools.items import cards
from mllm_srec.tools.values import value_of

LIKED = 5.0
"""Rating of an interaction that is added by talk: only what is liked is worth the words."""
SHOWN_EVIDENCE = 2
"""Items named behind a degree of the profile."""
HELP = (
    "recommend: “five toys under 20, nothing pink”",
    "search: “a red rubber train”, or /image FILE",
    "more, less, never: “more like 2”, “less rubber”, “never leather”",
    "why, why not: “why the second?” tells all of it, too; “why not the Comet crib?”",
    "compare: “compare 1 and 3”",
    "profile: “what do you know about me?”, “add red to my profile”, “forget red”",
    "history: “what did I get?”, “I have the Maple train”",
    "undo: takes the last wish or change back",
)
COURTESIES: dict[Courtesy, str] = {
    "greeting": "Hello. What are you looking for? “help” names what can be said.",
    "thanks": "You are welcome.",
    "goodbye": "Goodbye.",
}


async def profile(turn: Turn) -> TurnUpdate:
    """What is known of the user, by degree, with what that rests on; or change a wish."""
    if turn.understood.do == "add":
        return await _wish(turn)
    if turn.understood.do in ("remove", "forget"):
        return await _forget(turn)
    found = await turn.recommender().known(turn.user_id)
    attributes = (await turn.vocabulary()).attributes
    lines = [
        f"lately {degree}: {_by_attribute(values, attributes)}"
        for degree, values in found.lately.items()
    ] or [f"lately: {found.preference}"]
    for degree, group in groupby(found.profile.statements, key=lambda each: each.strength):
        said = list(group)
        evidence = dict.fromkeys(item_id for each in said for item_id in each.evidence)
        lines.append(f"{degree}: {_by_attribute([each.facet for each in said], attributes)}")
        lines += [f"   from {_some(turn, list(evidence))}"] if evidence else []
    lines += [
        f"you said: {wish_text(turn.home, each)} ({each.origin})"
        for each in turn.home.feedback.of(turn.user_id)
    ]
    return {"outcome": outcome("What is known about you:", (), lines)}


def _by_attribute(values: Sequence[str], attributes: Mapping[str, str]) -> str:
    """Values under the names of their attributes: `kind drum, duck; colour red`."""
    named: dict[str, list[str]] = {}
    for value in values:
        named.setdefault(attributes.get(value_of(value), ""), []).append(value)
    parts = (
        f"{'kind' if name == 'what' else name} {', '.join(each)}".strip()
        for name, each in named.items()
    )
    return "; ".join(parts)


def _some(turn: Turn, evidence: Sequence[str]) -> str:
    """The first items that statements rest on, by title, and how many more there are."""
    more = len(evidence) - SHOWN_EVIDENCE
    named = cards(turn.home, evidence[:SHOWN_EVIDENCE])
    shown = ", ".join(card.title or card.named for card in named)
    return f"{shown} and {more} more" if more > 0 else shown


async def _wish(turn: Turn) -> TurnUpdate:
    """Keep wishes for the lists to come; the last word about a value counts."""
    asked = turn.understood
    wanted: dict[Stance, tuple[str, ...]] = {
        "more": await turn.values([*asked.having, *filter(None, (asked.words,))]),
        "less": await turn.values(asked.without),
    }
    said = [
        keep_wish(turn, stance, "value", value)
        for stance, values in wanted.items()
        for value in values
    ]
    if not said:
        raise AskBack("Add what? Name a value: “red”, or “no rubber”.")
    actions = [wish_done(turn, each) for each in said if each.origin == turn.origin]
    lead = f"In your profile now: {'; '.join(wish_text(turn.home, each) for each in said)}."
    less = next((each for each in said if each.stance == "less"), None)
    if less:
        lead += f" For none at all, say “never {less.subject}”."
    return {"outcome": outcome(lead), **turn.undoable(*actions)}


async def _forget(turn: Turn) -> TurnUpdate:
    asked = turn.understood
    words = [*asked.having, *filter(None, (asked.words, asked.item))]
    if not words:
        raise AskBack("Forget what? Name a value, as your profile has it.")
    said = turn.home.feedback.of(turn.user_id)
    chosen = [each for each in said if each.kind == "item" and _named(turn, each, words)]
    if not chosen:
        values = await turn.values(words)
        chosen = [each for each in said if each.kind == "value" and each.subject in values]
    if not chosen:
        raise CannotDo(
            f"you said nothing about {', '.join(values)}: what your history shows goes when its "
            "items do (“remove ... from my history”), or gives way to a wish (“less ...”)"
        )
    for each in chosen:
        undo_feedback(turn.home, turn.user_id, each.feedback_id)
    forgotten = [
        Done(
            what="forgotten",
            text=f"forgetting {wish_text(turn.home, each)}",
            data=each.model_dump(),
        )
        for each in chosen
    ]
    names = "; ".join(wish_text(turn.home, each) for each in chosen)
    return {"outcome": outcome(f"Forgotten: {names}."), **turn.undoable(*forgotten)}


def _named(turn: Turn, said: Feedback, words: Sequence[str]) -> bool:
    """Whether some words are the id or the title of the item that a wish is about."""
    item = turn.home.catalogue.item(said.subject)
    names = {value_of(said.subject), value_of(item.title if item else "")} - {""}
    return any(value_of(each) in names for each in words)


async def history(turn: Turn) -> TurnUpdate:
    """What the user did: shown, added to, or taken back."""
    asked = turn.understood
    if asked.do == "add":
        return await _add(turn)
    if asked.do in ("remove", "forget"):
        return await _remove(turn)
    lines = read_history(turn.home, turn.user_id)
    if not lines:
        return {"outcome": outcome("The log knows nothing of you yet.")}
    return {
        "outcome": outcome(
            "Your newest, oldest first:",
            (),
            [
                line.named + (f", rated {line.rating:g}" if line.rating is not None else "")
                for line in lines
            ],
        )
    }


async def _add(turn: Turn) -> TurnUpdate:
    item_id = await turn.item(turn.understood.item or turn.understood.words, question=WHICH)
    before = next(
        (one for one in turn.home.catalogue.history(turn.user_id) if one.item_id == item_id), None
    )
    known = None if before is None else before.rating
    rating = LIKED if known is None else known
    add_to_history(turn.home, turn.user_id, item_id, rating=rating)
    title = _title(turn, item_id)
    done = Done(
        what="added",
        text=f"adding {title}",
        data={"item_id": item_id, "before": before.model_dump() if before else None},
    )
    lead = f"Added to your history, rated {rating:g}: {title}."
    if before:
        as_before = "" if known is None else " as before"
        lead = (
            f"It was in your history, and is the newest now, rated {rating:g}{as_before}: {title}."
        )
    return {"outcome": outcome(lead), "focus": item_id, **turn.undoable(done)}


async def _remove(turn: Turn) -> TurnUpdate:
    item_id = await turn.item(turn.understood.item or turn.understood.words, question=WHICH)
    gone = remove_from_history(turn.home, turn.user_id, item_id)
    title = _title(turn, item_id)
    done = Done(what="removed", text=f"removing {title}", data=gone.model_dump())
    lead = f"Taken out of your history: {title}."
    return {"outcome": outcome(lead), "focus": item_id, **turn.undoable(done)}


async def undo(turn: Turn) -> TurnUpdate:
    """Take the last action back; where it may be of long ago, only if `undo` was said."""
    state = turn.state
    if not state.done:
        raise CannotDo("there is nothing to take back in this conversation")
    last = state.done[-1]
    told = state.command is not None or re.search(r"\bundo\b", small(state.said))
    if not told and state.changed != state.turn - 1:
        lead = "What you said before changed nothing, so nothing is taken back."
        line = f"The newest that was kept here is: {last['text']}. “undo” takes that back."
        return {"outcome": outcome(lead, (), [line])}
    _UNDO[last["what"]](turn, last["data"])
    return {"outcome": outcome(f"Taken back: {last['text']}."), "done": turn.state.done[:-1]}


def _undo_feedback(turn: Turn, data: dict[str, Any]) -> None:
    # Gone already where the person forgot it in another chat: then nothing is left to do.
    turn.home.feedback.remove(data["feedback_id"])


def _undo_added(turn: Turn, data: dict[str, Any]) -> None:
    turn.home.catalogue.delete_interaction(turn.user_id, data["item_id"])
    if data["before"]:
        _undo_removed(turn, data["before"])


def _undo_removed(turn: Turn, data: dict[str, Any]) -> None:
    # With an item that was deleted meanwhile its interactions went, too.
    if turn.home.catalogue.item(data["item_id"]) is not None:
        turn.home.catalogue.put_interactions([Interaction.model_validate(data)])


def _undo_forgotten(turn: Turn, data: dict[str, Any]) -> None:
    turn.home.feedback.add(
        turn.user_id,
        data["stance"],
        data["kind"],
        data["subject"],
        origin=data["origin"],
        timestamp=data["timestamp"],
        key=turn.key(f"undo {data['feedback_id']}"),
    )


_UNDO: dict[Change, Callable[[Turn, dict[str, Any]], None]] = {
    "feedback": _undo_feedback,
    "added": _undo_added,
    "removed": _undo_removed,
    "forgotten": _undo_forgotten,
}


async def user(turn: Turn) -> TurnUpdate:
    """Whose conversation it is; talk alone never changes that.

    The name stands in no answer, so that a trace without user ids need not look for it in words.
    """
    lead = "Talk does not change whose conversation this is. /user NAME begins another's."
    return {"outcome": outcome(lead)}


async def help_(turn: Turn) -> TurnUpdate:
    """What can be said."""
    return {"outcome": outcome("You can say, in your own words:", (), HELP)}


async def other(turn: Turn) -> TurnUpdate:
    """What was not understood, or cannot be done here: an honest answer, and what can."""
    if (kind := courtesy(turn.state.said)) and turn.state.command is None:
        return {"outcome": outcome(COURTESIES[kind])}
    lead = "All I can do is recommend and find items of this shop. What are you looking for?"
    return {"outcome": outcome(lead, (), HELP[:4])}


def _title(turn: Turn, item_id: str) -> str:
    [card] = cards(turn.home, [item_id])
    return card.named
