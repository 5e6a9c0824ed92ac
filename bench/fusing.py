"""Fusing the shop through the product, against vLLM alone on the same prompts."""

import time
from statistics import median

from bench.figures import Figure, ratio
from bench.raw import merged, raw_seconds
from bench.shop import Shop, tokens
from mllm_srec.agent.ingest import fuse_missing


def measure(shop: Shop, repeats: int) -> list[Figure]:
    """Fuse a fresh home and replay what was asked, all at once and batch by batch, in turns."""
    _product(shop)
    calls = list(shop.engine.calls)
    seconds: dict[str, list[float]] = {"raw": [], "batches": [], "product": []}
    for turn in range(repeats):
        for name in reversed(seconds) if turn % 2 else seconds:
            if name == "product":
                seconds[name].append(_product(shop))
                calls = list(shop.engine.calls)
            else:
                asked = merged(calls) if name == "raw" else calls
                seconds[name].append(raw_seconds(shop.engine, asked))
    prompts = sum(len(call.prompts) for call in calls)
    value = ratio(seconds["raw"], seconds["product"])
    rate = {name: shop.items / median(each) for name, each in seconds.items()}
    detail = (
        f"{rate['product']:.0f} items/s, vLLM alone {rate['raw']:.0f} with all prompts at once, "
        f"medians of {repeats} turns; {ratio(seconds['batches'], seconds['product']):.2f} times "
        "vLLM alone with the same batches one after the other; "
        f"{shop.items} items, {prompts} prompts"
    )
    parts = {"items_per_second": rate["product"]} | tokens(calls, shop.items)
    return [Figure("fuse_ratio", value, 0.9, at_least=True, detail=detail, parts=parts)]


def _product(shop: Shop) -> float:
    """Seconds to fuse a home in which nothing is fused."""
    home = shop.fresh_home()
    with shop.deployment(home) as deployment, deployment.home.lock():
        shop.engine.forget()
        shop.engine.calls.clear()
        started = time.perf_counter()
        fuse_missing(deployment)
        return time.perf_counter() - started
