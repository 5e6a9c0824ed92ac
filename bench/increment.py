"""One new interaction of a user with sixty: what is asked of the engine about the windows again."""

from bench.figures import Figure, ratio
from bench.shop import Call, Shop
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.answer_schema import form_name

HISTORY = 60
USERS = 5


def measure(shop: Shop) -> list[Figure]:
    """Recommend to users of sixty interactions, then with one more, each home's caches as they are.

    The histories are given: items of the shop in the order of their ids, so that no two users share
    a window.
    """
    whole: list[float] = []
    again: list[float] = []
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        item_ids = deployment.home.catalogue.item_ids()
        if len(item_ids) < USERS * (HISTORY + 1):
            raise RuntimeError(f"only {len(item_ids)} items for {USERS} users: more --items")
        srec = Recommender(deployment)
        srec.recommend("nobody", history=item_ids[-5:])  # Warms up.
        for number in range(USERS):
            items = item_ids[number::USERS][: HISTORY + 1]
            for history, taken in ((items[:HISTORY], whole), (items, again)):
                shop.engine.forget()
                shop.engine.calls.clear()
                srec.recommend(f"user {number}", history=history)
                taken.append(window_seconds(shop.engine.calls))
    detail = (
        f"engine seconds in summarize_preferences: {sum(whole) / USERS:.3f} for {HISTORY} "
        f"interactions, {sum(again) / USERS:.3f} after one more; {USERS} users"
    )
    return [Figure("increment", ratio(whole, again), 5.0, at_least=True, detail=detail)]


def window_seconds(calls: list[Call]) -> float:
    """Engine seconds of the calls that asked for a preference.

    Raises:
        RuntimeError: There is none; then a cache had it, which is not what is to be measured.
    """
    seconds = [
        call.seconds
        for call in calls
        if (schema := call.prompts[0].schema) and form_name(schema) == Preference.__name__
    ]
    if not seconds:
        raise RuntimeError("the engine was not asked for any window")
    return sum(seconds)
