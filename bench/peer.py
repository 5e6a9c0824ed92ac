"""A whole user, against a loop as public code of this family works, on the same weights.

The loop calls transformers once for each picture, each description, each window, the profile, each
candidate and each reason, with the full prompt, and keeps nothing between calls. It is given the
very prompts that the product sent, so it is spared retrieval and all work between the calls. Its
answers are held to the same schemas: both sides write what is asked, and neither rambles.
"""

import time
from collections.abc import Sequence
from typing import Any

from bench.figures import Figure, ratio
from bench.scoring import Loop
from bench.shop import Call, Shop, users_with
from mllm_srec.agent.nodes.fuse_items import fuse
from mllm_srec.agent.recommender import Recommender

HISTORY = 15
"""Latest interactions of a user, the median of the sample shop."""
USERS = 3
LENGTH = 10
"""Items recommended, each with its reason."""


def measure(shop: Shop) -> list[Figure]:
    """Describe a user's items and recommend, in both ways, user by user."""
    # Imports torch: after vLLM, as in the product.
    dtype = shop.engine.info.dtype
    from mllm_srec.llm.transformers_engine import TransformersEngine  # noqa: PLC0415

    speaker, scorer = TransformersEngine(shop.model, dtype=dtype), Loop(shop.model, dtype)
    ours, theirs, prompts = [], [], 0
    # The first one warms up.
    for user in _users(shop):
        seconds, calls = _product(shop, user)
        ours.append(seconds)
        theirs.append(loop_seconds(speaker, scorer, calls))
        prompts += sum(len(call.prompts) for call in calls)
    users = len(ours) - 1
    detail = (
        f"{sum(theirs[1:]) / users:.1f} s a user in the loop, {sum(ours[1:]) / users:.2f} s here, "
        f"both {dtype}; {HISTORY} interactions, {prompts // len(ours)} prompts a user, "
        f"{users} users"
    )
    return [Figure("peer_loop", ratio(theirs[1:], ours[1:]), 1.0, at_least=True, detail=detail)]


def _users(shop: Shop) -> list[str]:
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        return users_with(deployment.home.catalogue, HISTORY, wanted=USERS + 1)[: USERS + 1]


def _product(shop: Shop, user: str) -> tuple[float, list[Call]]:
    """Seconds to describe a user's items and recommend, and what the engine was asked."""
    home = shop.fresh_home(fused=True)
    # The candidates have their descriptions; that the user's items were described is forgotten.
    for path in home.glob("steps.sqlite*"):
        path.unlink()
    with shop.deployment(home) as deployment:
        srec = Recommender(deployment)
        history = [one.item_id for one in deployment.home.catalogue.history(user)][-HISTORY:]
        items = list(deployment.home.catalogue.items(history).values())
        shop.engine.forget()
        shop.engine.calls.clear()
        started = time.perf_counter()
        with deployment.home.lock():
            deployment.run(fuse(srec.context, items))
        srec.recommend(user, LENGTH, history=history)
        return time.perf_counter() - started, list(shop.engine.calls)


def loop_seconds(speaker: Any, scorer: Any, calls: Sequence[Call]) -> float:
    """Seconds of one call a prompt.

    Args:
        speaker: Generates, as an engine does.
        scorer: Scores labels, as an engine does.
        calls: What the product asked.
    """
    started = time.perf_counter()
    for call in calls:
        for prompt in call.prompts:
            if call.labels:
                scorer.score_labels([prompt], call.labels)
            else:
                speaker.generate([prompt], max_tokens=call.max_tokens)
    return time.perf_counter() - started
