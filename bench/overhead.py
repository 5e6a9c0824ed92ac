"""A recommendation for a user whose windows are cached: the share that is not the engine's."""

import time
from dataclasses import replace
from statistics import median

from langgraph.runtime import Runtime

from bench.figures import Figure
from bench.shop import Shop, users_with
from mllm_srec.agent.nodes.load_user import load_user
from mllm_srec.agent.nodes.summarize_preferences import summarize_preferences, windows
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.state import Context, State

USERS = 12
HISTORY = (8, 20)
"""Interactions of the users measured."""


def measure(shop: Shop) -> list[Figure]:
    """Recommend to users for whom only the windows are cached."""
    shares, walls = [], []
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        srec = Recommender(deployment)
        users = users_with(deployment.home.catalogue, *HISTORY, wanted=1 + USERS)
        # The first one warms up.
        for user in users[: 1 + USERS]:
            deployment.run(_cache_windows(srec.context, user))
            started = time.perf_counter()
            result = srec.recommend(user)
            wall = time.perf_counter() - started
            asked, scored = result.tokens["summarize_preferences"], result.tokens["score_targets"]
            if asked.calls or scored.stored or scored.calls != deployment.settings.candidates:
                raise RuntimeError(f"not what is to be measured: {asked}, {scored}")
            walls.append(wall)
            shares.append(1 - result.engine_seconds / wall)
    detail = f"median of {USERS} users, {median(walls[1:]):.2f} s each"
    return [Figure("overhead", median(shares[1:]), 0.15, at_least=False, detail=detail)]


async def _cache_windows(context: Context, user: str) -> None:
    """Run the first two nodes of the chain, so that their answers are kept."""
    runtime = Runtime(context=context)
    state = replace(State(user_id=user), **(await load_user(State(user_id=user), runtime)))
    for _ in windows(len(state.history), context.settings):
        update = await summarize_preferences(state, runtime)
        state = replace(state, windows=[*state.windows, *update["windows"]])
