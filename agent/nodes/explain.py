"""explain: for each recommended item a reason that cites evidence."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from langgraph.runtime import Runtime
from pydantic import Field

from mllm_srec.agent.ask import Question, ask
from mllm_srec.agent.grounding import invented
from mllm_srec.agent.nodes.fuse_items import PRICE_BANDS, all_there
from mllm_srec.agent.nodes.profile_user import Profile, stated
from mllm_srec.agent.nodes.score_targets import last_preference
from mllm_srec.agent.nodes.summarize_preferences import Preference, fused_items
from mllm_srec.agent.state import Context, Event, Reason, State, Update
from mllm_srec.llm.answer_schema import answer_schema
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import UNKNOWN, FusedItem, Record, Spelling

MAX_TOKENS = 120
MAX_REASON = 400
"""Characters of a reason."""
BEGINNING = 3
"""Words by which two parts of a reason are one and the same: `lately you prefer`."""
MAX_CITED = 3
"""Interactions shown to the model as evidence."""
PHRASES = {
    "material": "made of {}",
    "brand": "from {}",
    "price": "in the {} price range",
    "purpose": "for {}",
    "suits": "suited to {}",
}
"""How a value that the text tells stands in a sentence, by the name of its attribute."""
# Nothing but a mark, `and` or `you` may follow: else it is the beginning of something longer.
_ENDS = r"(?= and | you\b|[,;.]?$|[,;.] )"
_LAST_TWICE = re.compile(rf", ((?:the )?\w[\w-]*) and \1{_ENDS}")
_FIRST_AGAIN = re.compile(
    rf"(?<![\w-])((?:the )?\w[\w-]*), ((?!(?:like|lately|you)\b)[^,;.]+?) and \1{_ENDS}"
)
_TWICE = re.compile(rf"(?<![\w-])((?:the )?\w[\w-]*)(?:(?:, | and )\1{_ENDS})+")


class CitedReason(Record):
    """The model's reason for one item."""

    cites: list[int] = Field(default_factory=list, max_length=8)
    """Numbers of the interactions in the prompt, from 1."""
    reason: str = Field(min_length=1, max_length=MAX_REASON)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """An interaction that can be cited, and the values it shares with the recommended item."""

    item_id: str
    fused: FusedItem
    shared: tuple[str, ...]


async def explain(state: State, runtime: Runtime[Context]) -> Update:
    """Give a reason for each of the first k items."""
    top = [candidate["item_id"] for candidate in state.candidates[: state.k]]
    context = runtime.context
    if not state.history:
        likes_of = context.collaborative().likes_of
        return {
            "reasons": [
                Reason(
                    item_id=item_id,
                    reason=reason_without_history(likes_of(item_id)),
                    evidence=[],
                    fallback=False,
                )
                for item_id in top
            ]
        }
    representations = all_there(context.home.catalogue.representations(top), top)
    history = fused_items(context, state, state.history)
    profile, preference = stated(state.profile), last_preference(state)
    exhibits = [exhibits_for(representations[item].fused, state.history, history) for item in top]
    replies = await ask(
        context.calls,
        [
            question(profile, preference, shown, representations[item_id].fused)
            for item_id, shown in zip(top, exhibits, strict=True)
        ],
        max_tokens=MAX_TOKENS,
    )
    return {
        "reasons": [
            Reason(
                item_id=item_id,
                reason=reply.value.reason,
                evidence=[shown[cite - 1].item_id for cite in reply.value.cites],
                fallback=reply.fallback,
            )
            for item_id, shown, reply in zip(top, exhibits, replies, strict=True)
        ]
    }


def reason_without_history(likes: int) -> str:
    """Why an item that so many users liked is shown to one of whom nothing is known."""
    if not likes:
        return "Nobody has liked it yet, and nothing is known about this user."
    users = "1 user" if likes == 1 else f"{likes:,} users"
    return f"Liked by {users}; nothing is known about this one yet."


def exhibits_for(
    item: FusedItem, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> list[Exhibit]:
    """The liked interactions that share most with the item, the newest first among equals."""
    facets = [value for value in item.facets() if value != UNKNOWN]
    liked = dict.fromkeys(
        event["item_id"] for event in reversed(events) if event["verdict"] == "liked"
    )
    values = {item_id: Spelling(fused[item_id].facets()) for item_id in liked}
    found = [
        Exhibit(item_id, fused[item_id], tuple(v for v in facets if v in values[item_id]))
        for item_id in liked
    ]
    found.sort(key=lambda exhibit: -len(exhibit.shared))
    return [exhibit for exhibit in found[:MAX_CITED] if exhibit.shared]


def question(
    profile: Profile, preference: Preference, exhibits: Sequence[Exhibit], item: FusedItem
) -> Question[CitedReason]:
    """Why does the item suit the user?"""
    return Question(
        prompt=explain_prompt(profile, preference, exhibits, item),
        check=lambda text: check_reason(text, exhibits, item),
        plain=lambda: plain_reason(preference, exhibits, item),
    )


def explain_prompt(
    profile: Profile, preference: Preference, exhibits: Sequence[Exhibit], item: FusedItem
) -> Prompt:
    """The prompt of one reason; the beginning is shared by all items of a user."""
    names = {value: name for name, value in item.attributes()}
    lately = _lately(preference)
    lines = (
        f"[{number}] {exhibit.fused.line}; in common: "
        + ", ".join(
            f"{names[value]} {value}{' (lately)' if value in lately else ''}"
            for value in exhibit.shared
        )
        for number, exhibit in enumerate(exhibits, 1)
    )
    return render(
        "explain",
        profile=profile.text,
        preference=preference.text,
        interactions="\n".join(lines) or "none that share anything",
        item=item.line,
        schema=answer_schema(CitedReason, {"cites": range(1, len(exhibits) + 1)}),
    )


def check_reason(text: str, exhibits: Sequence[Exhibit], item: FusedItem) -> CitedReason:
    """Parse a reason, hold its claims against the item, and cite each interaction that it names.

    Raises:
        InvalidAnswer: It is malformed, cites what was not shown, names what stands nowhere, gives
            the item a value that it does not have, tells of likes where none was shown, or says
            one part again.
    """
    reason = parse(text, CitedReason)
    begun = [_spoken(part).split()[:BEGINNING] for part in reason.reason.split(";")]
    if any(words in begun[:index] for index, words in enumerate(begun)):
        raise InvalidAnswer(text, "it says the same part again")
    if not exhibits and "you liked" in reason.reason:
        raise InvalidAnswer(text, "no interaction that the user liked was shown")
    for cite in reason.cites:
        if not 1 <= cite <= len(exhibits):
            raise InvalidAnswer(text, f"interaction [{cite}] was not shown")
    facts = [each.line for each in (item, *(exhibit.fused for exhibit in exhibits))]
    facts += [*item.told, *map(str, range(len(exhibits) + 1))]
    if made_up := sorted(invented(reason.reason, facts)):
        raise InvalidAnswer(text, f"{made_up[0]!r} stands nowhere in what was shown")
    own = _spoken_facets([item])
    called = [_spoken(exhibit.fused.what) for exhibit in exhibits]
    # What a shown item and an attribute are called may stand in the sentence; the other values of
    # a shown item are not the item's.
    names = set(map(_spoken, item.told))
    known = own | names | set(called)
    # Prices are never the model's to say, also where nothing that was shown has one.
    prices = {word for _, word in PRICE_BANDS}
    values = own | prices | _spoken_facets(exhibit.fused for exhibit in exhibits)
    named = _named(reason.reason, values)
    if stray := sorted(named - known):
        raise InvalidAnswer(text, f"{stray[0]!r} is not a value of the item")
    if not named & own:
        raise InvalidAnswer(text, "it says nothing about the item")
    # An interaction that the sentence names is cited, whether its number stands there or not.
    cites = dict.fromkeys(reason.cites)
    said_of = {called[cite - 1] for cite in cites} | own | names
    for name in sorted(named - said_of):
        cites[called.index(name) + 1] = None
    return CitedReason(reason=_said_once(reason.reason, known), cites=list(cites))


def _said_once(text: str, names: Iterable[str]) -> str:
    """A reason without what a small model lists twice: `the drum, the kite and the drum`.

    What a name has twice, `Johnson and Johnson`, stays.
    """
    spoken = _spoken(text)
    if any(name in spoken and _TWICE.search(name) for name in names):
        return text
    text = _FIRST_AGAIN.sub(r"\1 and \2", text)
    return _TWICE.sub(r"\1", _LAST_TWICE.sub(r" and \1", text))


def _spoken(text: str) -> str:
    """Text as its words alone, so that `Dr. Brown's` is found however it is set."""
    return " ".join(re.findall(r"[\w'-]+", text.casefold()))


def _spoken_facets(items: Iterable[FusedItem]) -> set[str]:
    return {_spoken(value) for item in items for value in item.facets()} - {""}


def _named(text: str, values: Iterable[str]) -> set[str]:
    """The values that a text names; `blue` inside `Blue Ridge` is not named."""
    named, rest = set[str](), _spoken(text)
    for value in sorted(values, key=lambda value: (-len(value), value)):
        rest, count = re.subn(rf"(?<!\w){re.escape(value)}(?!\w)", ",", rest)
        if count:
            named.add(value)
    return named


def plain_reason(
    preference: Preference, exhibits: Sequence[Exhibit], item: FusedItem
) -> CitedReason:
    """A reason by rule: what the item shares with what the user liked."""
    if not exhibits and item.line == UNKNOWN:
        return _cut("This item is something new, and nothing else is known of it.", [])
    if not exhibits:
        return _cut(f"This {item.what} is something new: {item.line}.", [])
    values = [value for value in exhibits[0].shared if value != item.what][:3]
    cites = [
        number
        for number, exhibit in enumerate(exhibits, 1)
        if set(values or [item.what]) & set(exhibit.shared)
    ]
    others = dict.fromkeys(exhibits[number - 1].fused.what for number in cites)
    like = _join([f"the {what}" for what in others])
    if values:
        text = f"This {item.what} is {_join(_phrases(values, item))}, like {like} you liked"
    else:
        text = f"Another {item.what}, like {like} you liked"
    preferred = _lately(preference)
    if lately := [value for value in values if value in preferred]:
        text += f"; lately you prefer {_join(lately)}"
    return _cut(f"{text}.", cites)


def _lately(preference: Preference) -> Spelling:
    """What the user has preferred of late."""
    return Spelling((*preference.strong, *preference.clear, *preference.slight))


def _cut(text: str, cites: list[int]) -> CitedReason:
    reason = text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"
    return CitedReason(reason=reason, cites=cites)


def _phrases(values: Sequence[str], item: FusedItem) -> list[str]:
    """Values as they stand after "this item is": what is seen as it is, what is told in words."""
    names = {value: name for name, value in item.told.items() if value not in item.seen.values()}
    return [_phrase(names[value], value) if value in names else value for value in values]


def _phrase(name: str, value: str) -> str:
    return PHRASES[name].format(value) if name in PHRASES else f"{name} {value}"


def _join(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
