"""score_targets: would the user like this item next (MLLM-SRec, step 4)?

One prompt a candidate, each alone, so that no order can matter; all prompts of a user share their
beginning, which the engine computes once. The score is read off the two label tokens.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from langgraph.runtime import Runtime

from mllm_srec.agent.nodes.fuse_items import all_there, described
from mllm_srec.agent.nodes.profile_user import Profile, stated
from mllm_srec.agent.nodes.summarize_preferences import (
    FLAT_HISTORY,
    Preference,
    fused_items,
    window_lines,
)
from mllm_srec.agent.state import Context, Event, Part, State, Update, scored, unscored
from mllm_srec.llm.engine import Picture, Prompt
from mllm_srec.llm.pictures import prepare
from mllm_srec.llm.prompting import render
from mllm_srec.store.records import DAY_S, FusedItem, folded
from mllm_srec.tools.feedback import granted
from mllm_srec.tools.ranking import combine

YES, NO = "Yes", "No"


async def score_targets(state: State, runtime: Runtime[Context]) -> Update:
    """Score every candidate and put the list into its final order."""
    context = runtime.context
    ids = [candidate["item_id"] for candidate in state.candidates]
    fused = all_there(described(context.home.catalogue, ids, without=context.settings.without), ids)
    answers = await context.calls.score_labels(
        prompts(state, context, {item_id: fused[item_id] for item_id in ids}), (YES, NO)
    )
    logits = np.array([answer.logprobs[YES] - answer.logprobs[NO] for answer in answers])
    ranked = combine([unscored(entry) for entry in state.candidates], logits, context.weights)
    ranked = granted(ranked, state.wishes, fused)
    logit_of = dict(zip(ids, logits.tolist(), strict=True))
    return {
        "candidates": [
            scored(
                entry.candidate,
                logit_of[entry.candidate.item_id],
                entry.probability,
                entry.score,
            )
            for entry in ranked
        ]
    }


def prompts(state: State, context: Context, items: Mapping[str, FusedItem]) -> list[Prompt]:
    """The prompts of some items, by id, with what the chain found of the user."""
    so_far, now, settings = describe_history(state.history), now_text(state), context.settings
    if settings.without == "chain":
        fused = fused_items(context, state, state.history)
        asked = raw_prompts(state.history, fused, so_far, now, items.values())
    else:
        profile, preference = stated(state.profile), last_preference(state)
        asked = chain_prompts(profile, preference, so_far, now, items.values(), settings.without)
    if not settings.scoring_picture:
        return asked
    pictures = _pictures(context, items)
    return [
        with_picture(prompt, pictures[item_id]) if item_id in pictures else prompt
        for item_id, prompt in zip(items, asked, strict=True)
    ]


def chain_prompts(
    profile: Profile,
    preference: Preference,
    so_far: str,
    now: str,
    items: Iterable[FusedItem],
    without: Part | None,
) -> list[Prompt]:
    """The prompts of some items; an ablation leaves out the profile."""
    shown = Profile() if without == "profile" else profile
    return score_prompts(shown, preference, so_far, now, items)


def raw_prompts(
    history: Sequence[Event],
    fused: Mapping[str, FusedItem],
    so_far: str,
    now: str,
    items: Iterable[FusedItem],
) -> list[Prompt]:
    """The prompts of some items straight from the latest interactions, oldest first."""
    latest = history[-FLAT_HISTORY:]
    raw = window_lines(latest, fused) if latest else "nothing yet"
    return [raw_prompt(raw, so_far, now, item) for item in items]


def with_picture(prompt: Prompt, picture: Picture) -> Prompt:
    """The prompt of one candidate with its picture, which stands before the text."""
    *before, asked = prompt.messages
    return Prompt((*before, replace(asked, pictures=(picture,))))


def _pictures(context: Context, item_ids: Iterable[str]) -> dict[str, Picture]:
    """The pictures of some items as the model gets them; items without a picture are omitted."""
    return {
        item_id: prepare(context.home.pictures.load(item.picture), context.budget)
        for item_id, item in context.home.catalogue.items(item_ids).items()
        if item.picture is not None
    }


def raw_prompt(history: str, so_far: str, now: str, item: FusedItem) -> Prompt:
    """The prompt of one candidate without the chain: interactions in the place of what they say."""
    return render(
        "score_target",
        profile=Profile().text,
        preference=f"these interactions, oldest first\n{history}",
        so_far=so_far,
        now=now,
        item=item.line,
        common="none",
    )


def score_prompts(
    profile: Profile, preference: Preference, so_far: str, now: str, items: Iterable[FusedItem]
) -> list[Prompt]:
    """The prompts of some candidates; everything before the item is shared by all of them."""
    told, last, named = profile.text, preference.text, lists_by_value(profile, preference)
    return [
        render(
            "score_target",
            profile=told,
            preference=last,
            so_far=so_far,
            now=now,
            item=item.line,
            common=in_common(named, item),
        )
        for item in items
    ]


def lists_by_value(profile: Profile, preference: Preference) -> dict[str, list[str]]:
    """The lists of the profile and the preference that name a value, by the folded value."""
    found: dict[str, list[str]] = {}
    for strength, values in (*profile, *preference):
        for value in {folded(value) for value in values}:
            found.setdefault(value, []).append(strength)
    return found


def in_common(named: Mapping[str, Sequence[str]], item: FusedItem) -> str:
    """What the profile and the preference say of each attribute of an item.

    Finding a word again is a tool's work, and a model of a few million weights needs thousands of
    examples to learn it; what it is worth that a user loves the type and avoids the colour is the
    model's to say.

    Args:
        named: What `lists_by_value` gives.
        item: The candidate.
    """
    stands = ((name, named.get(folded(value))) for name, value in item.attributes())
    return "; ".join(f"{name}: {', '.join(found)}" for name, found in stands if found) or "none"


def last_preference(state: State) -> Preference:
    """The last state of the dynamic preference."""
    if not state.windows:
        return Preference()
    return Preference.model_validate(state.windows[-1]["preference"])


def now_text(state: State) -> str:
    """The time of the request, as far as the log has times."""
    last = state.history[-1]["timestamp"] if state.history else None
    return describe_now(state.now, last)


def describe_history(history: Sequence[Event]) -> str:
    """How much evidence the profile and the preference rest on."""
    liked = sum(event["verdict"] == "liked" for event in history)
    return f"{len(history)} items, {liked} of them liked" if history else "no items"


def describe_now(now: int | None, last: int | None) -> str:
    """Month of the request, and days since the last interaction."""
    if now is None:
        return "unknown"
    month = dt.datetime.fromtimestamp(now, tz=dt.UTC).strftime("%B")
    if last is None:
        return month
    return f"{month}, {max(now - last, 0) // DAY_S} days after the last interaction"
