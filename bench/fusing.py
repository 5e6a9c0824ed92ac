"""Fusing the shop through the product, against vLLM alone on the same prompts."""

import time
from collections.abc import Sequence

from bench.figures import Figure, ratio
from bench.shop import Call, Shop
from mllm_srec.agent.ingest import fuse_missing


def measure(shop: Shop, repeats: int) -> list[Figure]:
    """Fuse a fresh home and replay what was asked, in turns."""
    _product(shop)
    calls = list(shop.engine.calls)
    seconds: dict[str, list[float]] = {"product": [], "raw": []}
    for turn in range(repeats):
        for name in ("product", "raw") if turn % 2 else ("raw", "product"):
            if name == "product":
                seconds[name].append(_product(shop))
                calls = list(shop.engine.calls)
            else:
                seconds[name].append(_raw(shop, calls))
    prompts = sum(len(call.prompts) for call in calls)
    value = ratio(seconds["raw"], seconds["product"])
    rate = {name: shop.items / min(each) for name, each in seconds.items()}
    detail = (
        f"{rate['product']:.0f} of {rate['raw']:.0f} items/s at best, {shop.items} items, "
        f"{prompts} prompts, {repeats} turns"
    )
    return [Figure("fuse_ratio", value, 0.9, at_least=True, detail=detail)]


def _product(shop: Shop) -> float:
    """Seconds to fuse a home in which nothing is fused."""
    home = shop.fresh_home()
    with shop.deployment(home) as deployment, deployment.home.lock():
        shop.engine.forget()
        shop.engine.calls.clear()
        started = time.perf_counter()
        fuse_missing(deployment)
        return time.perf_counter() - started


def _raw(shop: Shop, calls: Sequence[Call]) -> float:
    """Seconds that `vllm.LLM.generate` takes for prompts that are tokens and pixels already."""
    inner = shop.engine.inner
    ready = [
        (
            [inner._input(prompt) for prompt in call.prompts],
            inner._sampling(call.max_tokens, call.schema),
        )
        for call in calls
    ]
    shop.engine.forget()
    started = time.perf_counter()
    for inputs, params in ready:
        shop.engine.llm.generate(inputs, params, use_tqdm=False)
    return time.perf_counter() - started
