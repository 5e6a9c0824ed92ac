"""explain: for each recommended item a reason that cites evidence."""

from collections.abc import Mapping, Sequence, Set

from langgraph.runtime import Runtime

from mllm_srec.agent.ask import Question, ask
from mllm_srec.agent.nodes.fuse_items import all_there
from mllm_srec.agent.nodes.profile_user import Profile, stated
from mllm_srec.agent.nodes.reason_check import (
    MAX_REASON,
    PHRASES,
    CheckedReason,
    CitedReason,
    Exhibit,
    check_reason,
    joined,
    spoken_kinds,
)
from mllm_srec.agent.nodes.score_targets import last_preference
from mllm_srec.agent.nodes.summarize_preferences import Preference, fused_items
from mllm_srec.agent.state import Context, Event, Reason, State, Update
from mllm_srec.llm.answer_schema import answer_schema
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.store.records import UNKNOWN, FusedItem, Spelling

MAX_TOKENS = 120
MAX_CITED = 3
"""Interactions shown to the model as evidence."""


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
                    struck=[],
                )
                for item_id in top
            ]
        }
    representations = all_there(context.home.catalogue.representations(top), top)
    history = fused_items(context, state, state.history)
    profile, preference = stated(state.profile), last_preference(state)
    kinds = spoken_kinds(context.facets().kinds)
    exhibits = [exhibits_for(representations[item].fused, state.history, history) for item in top]
    replies = await ask(
        context.calls,
        [
            question(profile, preference, shown, representations[item_id].fused, kinds=kinds)
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
                struck=list(reply.value.struck),
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
    profile: Profile,
    preference: Preference,
    exhibits: Sequence[Exhibit],
    item: FusedItem,
    *,
    kinds: Set[str],
) -> Question[CheckedReason]:
    """Why does the item suit the user?

    Args:
        profile: What is stable in the user's taste.
        preference: What the user prefers lately.
        exhibits: The interactions that can be cited.
        item: The recommended item.
        kinds: What things are called in this catalogue, `spoken`: the item is none of the others.
    """
    return Question(
        prompt=explain_prompt(profile, preference, exhibits, item),
        check=lambda text: check_reason(text, preference, exhibits, item, kinds=kinds),
        plain=lambda: CheckedReason(**plain_reason(preference, exhibits, item).model_dump()),
    )


def explain_prompt(
    profile: Profile, preference: Preference, exhibits: Sequence[Exhibit], item: FusedItem
) -> Prompt:
    """The prompt of one reason; the beginning is shared by all items of a user."""
    names = {value: name for name, value in item.attributes()}
    lately = Spelling(preference.preferred)
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


def plain_reason(
    preference: Preference, exhibits: Sequence[Exhibit], item: FusedItem
) -> CitedReason:
    """A reason by rule: what the item shares with what the user liked."""
    if not exhibits and item.line == UNKNOWN:
        return _cut("This item is something new, and nothing else is known of it.", [])
    kind = _called(item)
    if not exhibits:
        told = item.line.removeprefix(f"{item.what}: ")
        return _cut(f"This {kind} is something new: {told}.", [])
    values = [value for value in exhibits[0].shared if value != item.what][:3]
    cites = [
        number
        for number, exhibit in enumerate(exhibits, 1)
        if set(values or [item.what]) & set(exhibit.shared)
    ]
    others = dict.fromkeys(_called(exhibits[number - 1].fused) for number in cites)
    like = joined([f"the {other}" for other in others])
    if values:
        text = f"This {kind} is {joined(_phrases(values, item))}, like {like} you liked"
    else:
        text = f"Another {kind}, like {like} you liked"
    preferred = Spelling(preference.preferred)
    if lately := [value for value in values if value in preferred]:
        text += f"; lately you prefer {joined(lately)}"
    return _cut(f"{text}.", cites)


def _called(item: FusedItem) -> str:
    return "item" if item.what == UNKNOWN else item.what


def _cut(text: str, cites: list[int]) -> CitedReason:
    reason = text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"
    return CitedReason(reason=reason, cites=cites)


def _phrases(values: Sequence[str], item: FusedItem) -> list[str]:
    """Values as they stand after "this item is": what is seen as it is, what is told in words."""
    names = {value: name for name, value in item.told.items() if value not in item.seen.values()}
    return [_phrase(names[value], value) if value in names else value for value in values]


def _phrase(name: str, value: str) -> str:
    return PHRASES[name].format(value) if name in PHRASES else f"{name} {value}"
