"""score_targets: would the user like this item next (MLLM-SRec, step 4)?

One prompt a candidate, each alone, so that no order can matter; all prompts of a user share their
beginning, which the engine computes once. The score is read off the two label tokens.
"""

import datetime as dt

import numpy as np
from langgraph.runtime import Runtime

from mllm_srec.agent.nodes.profile_user import profile_text
from mllm_srec.agent.nodes.summarize_preferences import DAY_S, Preference
from mllm_srec.agent.state import Context, State, Update, scored, unscored
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.store.records import FusedItem
from mllm_srec.tools.ranking import combine

YES, NO = "Yes", "No"


async def score_targets(state: State, runtime: Runtime[Context]) -> Update:
    """Score every candidate and put the list into its final order."""
    context = runtime.context
    ids = [candidate["item_id"] for candidate in state.candidates]
    fused = context.home.catalogue.representations(ids)
    profile, preference, now = profile_text(state.profile), preference_text(state), now_text(state)
    answers = await context.calls.score_labels(
        [score_prompt(profile, preference, now, fused[item_id].fused) for item_id in ids],
        (YES, NO),
    )
    logits = np.array([answer.logprobs[YES] - answer.logprobs[NO] for answer in answers])
    ranked = combine([unscored(entry) for entry in state.candidates], logits, context.weights)
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


def score_prompt(profile: str, preference: str, now: str, item: FusedItem) -> Prompt:
    """The prompt of one candidate; everything before the item is shared by all of them."""
    return render("score_target", profile=profile, preference=preference, now=now, item=item.line)


def preference_text(state: State) -> str:
    """The last state of the dynamic preference in words."""
    if not state.windows:
        return Preference().text
    return Preference.model_validate(state.windows[-1]["preference"]).text


def now_text(state: State) -> str:
    """The time of the request, as far as the log has times."""
    last = state.history[-1]["timestamp"] if state.history else None
    return describe_now(state.now, last)


def describe_now(now: int | None, last: int | None) -> str:
    """Month of the request, and days since the last interaction."""
    if now is None:
        return "unknown"
    month = dt.datetime.fromtimestamp(now, tz=dt.UTC).strftime("%B")
    if last is None:
        return month
    return f"{month}, {max(now - last, 0) // DAY_S} days after the last interaction"
