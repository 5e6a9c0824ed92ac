"""How often a plain form stands in for the model's reason, and how often a false claim went out."""

from collections.abc import Sequence
from dataclasses import replace

from langgraph.runtime import Runtime

from mllm_srec.agent.nodes.explain import explain
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import Context
from mllm_srec.finetune.data.splits import Case
from mllm_srec.finetune.evaluation.pairs import request

USERS = 40
ITEMS = 8
"""Reasons of each user."""


def reason_figures(
    recommender: Recommender, cases: Sequence[Case], progress: Progress
) -> dict[str, int]:
    """Count the reasons for the lists of the first `USERS` cases, and what code did to them.

    Args:
        recommender: With its own number of candidates: the reasons are those of whole lists.
        cases: Warm users.
        progress: Told how many users are done.
    """
    asked = cases[:USERS]
    states = recommender.rank_many([request(case) for case in asked])
    runtime: Runtime[Context] = Runtime(context=recommender.context)
    reasons, plain, struck = 0, 0, 0
    progress("explain", 0, len(asked))
    for done, state in enumerate(states, 1):
        update = recommender.deployment.run(explain(replace(state, k=ITEMS), runtime))
        reasons += len(update["reasons"])
        plain += sum(reason["fallback"] for reason in update["reasons"])
        struck += sum(bool(reason["struck"]) for reason in update["reasons"])
        progress("explain", done, len(asked))
    return {"reasons": reasons, "reason_fallbacks": plain, "reasons_struck": struck}
