"""`recommend_many` for many users, against vLLM alone on the same prompts and a loop of users."""

import time
from collections.abc import Sequence
from statistics import median

from bench.figures import Figure, ratio
from bench.raw import merged, raw_seconds
from bench.shop import Shop, tokens, users_with
from mllm_srec.agent.recommender import Recommender, Request

LOOPED = 20
"""Users whom the loop asks one by one, spread over all; its time stands for all in proportion."""
LEAST_HISTORY = 4
"""Interactions of a user who is asked."""


def measure(shop: Shop, users: int, repeats: int) -> list[Figure]:
    """Recommend to all at once, to some one by one, and replay what was asked of the engine.

    Each time in a home in which the items are described and nothing else was asked.
    """
    asked = _users(shop, users)
    looped = asked[:: max(users // LOOPED, 1)][:LOOPED]
    _together(shop, asked[:2])  # Warms up.
    seconds: dict[str, list[float]] = {"together": [], "raw": [], "alone": []}
    ways = list(seconds)
    for turn in range(repeats):
        # The replay needs what was asked, so the first turn begins with the product.
        for way in ways if turn % 2 == 0 else reversed(ways):
            if way == "together":
                seconds[way].append(_together(shop, asked))
                calls = list(shop.engine.calls)
            elif way == "raw":
                seconds[way].append(raw_seconds(shop.engine, merged(calls)))
            else:
                seconds[way].append(_one_by_one(shop, looped) * users / len(looped))
    prompts = sum(len(call.prompts) for call in calls)
    took = {way: median(each) for way, each in seconds.items()}
    detail = (
        f"{users} users in {took['together']:.1f} s; vLLM alone {took['raw']:.1f} s for the same "
        f"{prompts:,} prompts, each kind at once; the loop {took['alone'] / users:.2f} s a user, "
        f"by {len(looped)} of them; {repeats} turns"
    )
    parts = {"users_per_second": users / took["together"]} | tokens(calls, users)
    of_raw = ratio(seconds["raw"], seconds["together"])
    over_loop = ratio(seconds["alone"], seconds["together"])
    return [
        Figure("many_of_raw", of_raw, 0.8, at_least=True, detail=detail, parts=parts),
        Figure("many_over_loop", over_loop, 1.5, at_least=True, detail=detail),
    ]


def _users(shop: Shop, users: int) -> list[str]:
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        fit = users_with(deployment.home.catalogue, LEAST_HISTORY, wanted=users)
    # Not the first of them: users are numbered by when they came.
    return fit[:: len(fit) // users][:users]


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
    """Seconds of a loop of single calls."""
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        srec = Recommender(deployment)
        shop.engine.forget()
        started = time.perf_counter()
        for user in users:
            srec.recommend(user)
        return time.perf_counter() - started
