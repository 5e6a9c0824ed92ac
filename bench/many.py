"""`recommend_many` for many users, against vLLM alone on the same prompts and a loop of users."""

import time
from collections.abc import Sequence

from bench.figures import Figure
from bench.raw import merged, raw_seconds
from bench.shop import Shop
from mllm_srec.agent.recommender import Recommender, Request

LOOPED = 50
"""The first users, whom the loop asks one by one; its time stands for all in proportion."""
LEAST_HISTORY = 4
"""Interactions of a user who is asked."""


def measure(shop: Shop, users: int) -> list[Figure]:
    """Recommend to all at once, to some one by one, and replay what was asked of the engine.

    Each has a home in which the items are described and nothing else was asked.
    """
    asked = _users(shop, users)
    _together(shop, asked[:2])  # Warms up.
    together = _together(shop, asked)
    calls = list(shop.engine.calls)
    alone = _one_by_one(shop, asked[: min(LOOPED, users)])
    raw = raw_seconds(shop.engine, merged(calls))
    prompts = sum(len(call.prompts) for call in calls)
    detail = (
        f"{users} users in {together:.1f} s; vLLM alone {raw:.1f} s for the same {prompts:,} "
        f"prompts, each kind at once; the loop {alone:.2f} s a user"
    )
    return [
        Figure("many_of_raw", raw / together, 0.8, at_least=True, detail=detail),
        Figure("many_over_loop", alone * users / together, 1.5, at_least=True, detail=detail),
    ]


def _users(shop: Shop, users: int) -> list[str]:
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        counts = deployment.home.catalogue.interactions_frame().group_by("user_id").len()
    fit = counts.filter(counts["len"] >= LEAST_HISTORY).sort("user_id")["user_id"].to_list()
    if len(fit) < users:
        raise RuntimeError(f"only {len(fit)} users have {LEAST_HISTORY} interactions: more --items")
    # Not the first of them: users are numbered by when they came.
    step = len(fit) // users
    return [str(user) for user in fit[:: max(step, 1)][:users]]


def _together(shop: Shop, users: Sequence[str]) -> float:
    """Seconds of one call for all."""
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        srec = Recommender(deployment)
        shop.engine.forget()
        shop.engine.calls.clear()
        started = time.perf_counter()
        srec.recommend_many([Request(user) for user in users])
        return time.perf_counter() - started


def _one_by_one(shop: Shop, users: Sequence[str]) -> float:
    """Seconds a user of a loop of single calls."""
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        srec = Recommender(deployment)
        shop.engine.forget()
        started = time.perf_counter()
        for user in users:
            srec.recommend(user)
        return (time.perf_counter() - started) / len(users)
