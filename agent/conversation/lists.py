"""Actions that bring a list: recommend, search, and criticism of the list before."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mllm_srec.agent.conversation.intents import MAX_VALUES, Intent, Understood
from mllm_srec.agent.conversation.shown import shown_card, shown_suggestion
from mllm_srec.agent.conversation.state import PASSED, Shown, TurnUpdate
from mllm_srec.agent.conversation.turn import AskBack, Turn, outcome, said_number
from mllm_srec.agent.conversation.wishes import forgetting, keep_wish, wish_done
from mllm_srec.agent.nodes.fuse_items import fused_picture
from mllm_srec.store.feedback import Feedback, Stance
from mllm_srec.tools.errors import WrongCall
from mllm_srec.tools.feedback import ruled_out, wish_text
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.items import cards
from mllm_srec.tools.recommend import MAX_LIST
from mllm_srec.tools.recommend import recommend as recommend_items
from mllm_srec.tools.search import search_described, search_similar, search_text, unknown_words
from mllm_srec.tools.values import Vocabulary

USUAL = 5
"""Items of a list where nobody said how many."""


@dataclass(frozen=True)
class _Wanted:
    """What a list is for, as far as it can be done."""

    request: Understood
    conditions: ItemFilter
    passed: Sequence[str] = ()
    """Ids of items shown before that should not come again."""
    note: str = ""
    """What cannot be done of it."""


async def recommend(turn: Turn) -> TurnUpdate:
    """A list for the user, by what was asked, or by what was asked before and now.

    What changes or goes on with a search, or with items like another one, is that again: `others`,
    `only red ones`.
    """
    if turn.understood.again and turn.state.last and turn.state.last["intent"] == "search":
        return await search(_again(turn, "search"))
    if turn.understood.again and turn.state.last_item:
        return await _like(turn, turn.state.last_item, await _wanted(turn))
    return await _recommended(turn, await _wanted(turn))


async def search(turn: Turn) -> TurnUpdate:
    """Items by words, or by a picture that was shown."""
    wanted = await _wanted(turn)
    request, conditions = wanted.request, wanted.conditions
    embed = turn.context.srec.deployment.calls.embed
    count = _length(request)
    words = request.words or " ".join((*request.having, request.item)).strip()
    picture = turn.state.picture
    if picture is None and turn.understood.again:
        picture = turn.state.last_picture
    note = f"{wanted.note}{await _left_out(turn, words)}"
    if picture:
        fused = await fused_picture(turn.context.srec.context, picture, words)
        found = await search_described(
            turn.home, embed, fused, count=count, conditions=conditions, user_id=turn.user_id
        )
        # What was said of it is told there, too; it was not seen.
        seen = fused.model_copy(update={"told": {}}).line
        like = f"Nearest to it, “{words}”" if words else "Nearest to it"
        lead = f"Your picture shows {seen}. {note}{like}{_meeting(conditions)}:"
    elif not words:
        raise AskBack("What should it be? A word for the thing is enough.")
    else:
        vocabulary = await turn.vocabulary()
        if unknown := await asyncio.to_thread(unknown_words, turn.home, words, vocabulary):
            note += f"Nothing here is called or described as “{' '.join(unknown)}”. "
        found = await search_text(
            turn.home,
            embed,
            words,
            vocabulary,
            count=count,
            conditions=conditions,
            user_id=turn.user_id,
        )
        lead = f"{note}Nearest to “{words}”{_meeting(conditions)}:"
    return {
        **_listed(lead, map(shown_card, found), request, wanted.passed),
        "last_picture": picture,
    }


async def _left_out(turn: Turn, words: str) -> str:
    """What some words name and the user never wants, as a remark."""
    never = ruled_out(turn.home.feedback.of(turn.user_id)).without
    values, _ = await turn.read([words] if never and words else [])
    named = [value for value in values if value in never]
    return f"Left out, as you said: never {', '.join(named)}. " if named else ""


async def more(turn: Turn) -> TurnUpdate:
    """More of a value, or like an item; just more, where nothing is named."""
    asked = turn.understood
    if not asked.item and not asked.having and not asked.words:
        return await recommend(_again(turn, "recommend"))
    if asked.item:
        # Read before the wish is kept: a price may need a question.
        wanted = await _wanted(turn)
        said = await _of_item(turn, "more", asked.item)
        return await _like(turn, said.subject, wanted, after=_noted(turn, [said]))
    return await _criticised(turn, "more")


async def _like(
    turn: Turn,
    item_id: str,
    wanted: _Wanted,
    *,
    after: TurnUpdate | None = None,
) -> TurnUpdate:
    """Items like another one that meet what is asked besides."""
    request, conditions = wanted.request, wanted.conditions
    similar = await search_similar(
        turn.home,
        turn.context.srec.deployment.calls.embed,
        item_id,
        count=_length(request),
        conditions=conditions,
        user_id=turn.user_id,
    )
    if after is None:
        [card] = cards(turn.home, [item_id])
        lead = f"{wanted.note}Like {card.named}{_meeting(conditions)} are:"
    else:
        noted = f"{after['outcome']['lead']} {wanted.note}"
        lead = f"{noted}Like it{_meeting(conditions)} are:"
    request = request.model_copy(update={"item": ""})
    listed = _listed(lead, map(shown_card, similar), request, wanted.passed)
    return {**(after or {}), **listed, "last_item": item_id, "focus": item_id}


async def less(turn: Turn) -> TurnUpdate:
    """Less of a value, or like an item."""
    return await _criticised(turn, "less")


async def never(turn: Turn) -> TurnUpdate:
    """Never again a value, or an item."""
    return await _criticised(turn, "never")


async def _criticised(turn: Turn, stance: Stance) -> TurnUpdate:
    """Keep what was said, and show the list that follows from it."""
    asked, note = turn.priced(turn.understood), ""
    besides = asked.model_copy(update={"having": (), "without": (), "words": "", "item": ""})
    # Read before the wish is kept: a price or a number may need a question.
    _length(besides)
    await turn.conditions(besides)
    named = [*asked.having, *filter(None, (asked.words,))]
    if named or asked.without:
        unwanted, unknown = await turn.read(asked.without)
        values, also_unknown = await turn.read(named)
        stances = dict.fromkeys(values, stance)
        # `More red, no blue` is less of blue; of `no more blue` the model may make either.
        stances |= dict.fromkeys(unwanted, "less" if stance == "more" else stance)
        note = await _unknown(turn, (*also_unknown, *unknown), refused=not stances)
        said = [keep_wish(turn, each, "value", value) for value, each in stances.items()]
    else:
        question = f"{stance.capitalize()} of what? Name a colour, or a number of the list."
        said = [await _of_item(turn, stance, asked.item, question)]
    noted = _noted(turn, said)
    last = Understood.model_validate(turn.state.last or {"intent": "recommend"})
    request = _over_before(besides, last)
    request = request.model_copy(update={"intent": "recommend", "words": "", "item": ""})
    request = await _without(turn, request, said)
    wanted = _Wanted(request, await turn.conditions(request), note=note)
    return await _recommended(turn, wanted, after=noted)


async def _without(turn: Turn, request: Understood, said: Sequence[Feedback]) -> Understood:
    """A request without what contradicts the wishes that were said after it."""
    if not request.having and not request.without and not request.department:
        return request
    vocabulary = await turn.vocabulary()
    more = {each.subject for each in said if each.kind == "value" and each.stance == "more"}
    less = {each.subject for each in said if each.kind == "value" and each.stance != "more"}
    having = tuple(_left(vocabulary, request.having, less.__contains__))
    without = tuple(_left(vocabulary, request.without, more.__contains__))
    department = "".join(_left(vocabulary, (request.department,), less.__contains__))
    left = {"having": having, "without": without, "department": department}
    return request.model_copy(update=left)


async def _of_item(
    turn: Turn, stance: Stance, words: str, question: str = "Which one?"
) -> Feedback:
    item_id = await turn.item(words, question=question)
    return keep_wish(turn, stance, "item", item_id)


def _noted(turn: Turn, said: Sequence[Feedback]) -> TurnUpdate:
    """Tell what is kept now, whatever becomes of the list after it.

    A wish that was kept before may be named to be rid of it: `remove leather from the never list`.
    """
    new = [each for each in said if each.origin == turn.origin]
    actions = [wish_done(turn, each) for each in new]
    told = [f"Noted: {'; '.join(each['text'] for each in actions)}."] if new else []
    told += [
        f"You said “{wish_text(turn.home, each)}” before; “{forgetting(each)}” takes it back."
        for each in said
        if each not in new
    ]
    noted: TurnUpdate = {"outcome": outcome(" ".join(told)), **turn.undoable(*actions)}
    turn.so_far(noted)
    return noted


async def _recommended(
    turn: Turn, wanted: _Wanted, *, after: TurnUpdate | None = None
) -> TurnUpdate:
    """A list, told as soon as it is ranked; after what the turn has done already."""
    done = after or TurnUpdate(outcome=outcome(""))
    request, conditions = wanted.request, wanted.conditions
    told = f"{done['outcome']['lead']} {wanted.note}".lstrip()
    lead = f"{told}For you{_meeting(conditions)}:"

    def listed(items: Iterable[Shown], notes: Sequence[str] = ()) -> TurnUpdate:
        return {**done, **_listed(lead, items, request, wanted.passed, notes)}

    found = await recommend_items(
        turn.lister(listed), turn.user_id, k=_length(request), conditions=conditions
    )
    return listed(map(shown_suggestion, found.items), found.notes)


async def _wanted(turn: Turn) -> _Wanted:
    """What is asked for, on top of what was asked before where it changes that.

    Raises:
        AskBack: A price can be read in two ways.
        CannotDo: No item is anything of what is asked for.
    """
    priced, passed = turn.priced(turn.understood), list[str]()
    asked, note = await _possible(turn, priced)
    if asked.again and turn.state.last:
        if priced != turn.understood or not asked.spans() or asked.spans() == [asked.k]:
            # Cheaper or dearer ones; or nothing new was named: others of the same.
            passed = list(dict.fromkeys((*turn.state.passed, *turn.shown_ids)))[-PASSED:]
        asked = await _on_top(turn, asked, Understood.model_validate(turn.state.last))
    conditions = await turn.conditions(asked) & ItemFilter(exclude=tuple(passed))
    return _Wanted(asked, conditions, passed, note)


async def _possible(turn: Turn, asked: Understood) -> tuple[Understood, str]:
    """A request without what no item is, which is said; `no pink` counts before `pink`.

    Raises:
        CannotDo: Nothing is left of it.
    """
    department = tuple(filter(None, (asked.department,)))
    if not asked.having and not asked.without and not department:
        return asked, ""
    vocabulary = await turn.vocabulary()
    unwanted, unknown = await turn.read(asked.without)
    _, also_unknown = await turn.read((*department, *asked.having))
    having = tuple(_left(vocabulary, asked.having, unwanted.__contains__))
    left = {
        "having": having,
        "without": tuple(_left(vocabulary, asked.without, lambda value: False)),
        "department": "".join(_left(vocabulary, department, unwanted.__contains__)),
    }
    known = asked.model_copy(update=left)
    nothing = bool(also_unknown) and not set(known.spans()) - {known.k}
    return known, await _unknown(turn, (*also_unknown, *unknown), refused=nothing)


async def _unknown(turn: Turn, words: Sequence[str], *, refused: bool) -> str:
    """That no item is what some words say, as a remark, empty without words.

    Raises:
        CannotDo: It is all that was asked for.
    """
    if not words:
        return ""
    vocabulary = await turn.vocabulary()
    if refused:
        raise vocabulary.unknown(words)
    told = vocabulary.none_is(words)
    return f"{told[0].upper()}{told[1:]}. "


async def _on_top(turn: Turn, asked: Understood, before: Understood) -> Understood:
    """A request on top of the one before: values add up, and replace those of their attribute.

    After `kites`, `only blue ones` are blue kites; after these, `green instead` are green ones.
    """
    merged = _over_before(asked, before)
    if not asked.having and not asked.without:
        return merged
    vocabulary = await turn.vocabulary()
    named = {value for words in asked.having for value in vocabulary.values(words)}
    unwanted = {value for words in asked.without for value in vocabulary.values(words)}
    changed = {vocabulary.attributes[value] for value in named}

    def replaced(value: str) -> bool:
        return value in unwanted or vocabulary.attributes[value] in changed

    having = (*_left(vocabulary, before.having, replaced), *asked.having)
    without = (*_left(vocabulary, before.without, named.__contains__), *asked.without)
    both = {"having": having[-MAX_VALUES:], "without": without[-MAX_VALUES:]}
    return merged.model_copy(update=both)


def _over_before(asked: Understood, before: Understood) -> Understood:
    """A request on top of the one before; a price that contradicts the new one gives way to it.

    After `under 20`, `over 30` has no upper end.
    """
    merged = asked.over_before(before)
    low, high = said_number(merged.over), said_number(merged.under)
    if low is None or high is None or low <= high:
        return merged
    # Both ends of one message are its own contradiction.
    return merged.model_copy(
        update={"over": asked.over, "under": asked.under} if asked.over or asked.under else {}
    )


def _left(
    vocabulary: Vocabulary, spans: Iterable[str], goes: Callable[[str], bool]
) -> Iterator[str]:
    """The spans without the values that go; those that name no value go, too."""
    for words in spans:
        values = vocabulary.values(words)
        stay = [value for value in values if not goes(value)]
        if stay:
            yield words if stay == values else " ".join(stay)


def _again(turn: Turn, intent: Intent) -> Turn:
    again = turn.understood.model_copy(update={"intent": intent, "again": True})
    return replace(turn, understood=again)


def _meeting(conditions: ItemFilter) -> str:
    """The conditions as they stand after what a list is for: ` (red, up to 20)`."""
    return f" ({conditions.text})" if conditions.text else ""


def _length(request: Understood) -> int:
    said = said_number(request.k)
    if said is None:
        return USUAL
    if said != int(said) or not 1 <= said <= MAX_LIST:
        raise WrongCall(f"a list has 1 to {MAX_LIST} items, not {request.k}")
    return int(said)


def _listed(
    lead: str,
    items: Iterable[Shown],
    request: Understood,
    passed: Sequence[str],
    notes: Sequence[str] = (),
) -> TurnUpdate:
    found = outcome(lead, items, notes)
    focus = found["items"][0]["item_id"] if len(found["items"]) == 1 else None
    return {
        "outcome": found,
        "shown": found["items"],
        "last": request.model_dump(mode="json"),
        "last_picture": None,
        "last_item": None,
        "passed": list(passed),
        "focus": focus,
    }
