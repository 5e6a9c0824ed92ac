"""vLLM alone: what the product asked, given to `vllm.LLM.generate` as tokens and pixels."""

import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bench.shop import Call, HeardEngine
from mllm_srec.llm.vllm_engine import VLLMEngine


def raw_seconds(engine: HeardEngine, calls: Sequence[Call]) -> float:
    """Seconds of the engine for these calls, one after the other; preparing them is not counted."""
    inner = engine.inner
    ready = [(inner.inputs(call.prompts), _params(inner, call)) for call in calls]
    engine.forget()
    started = time.perf_counter()
    for inputs, params in ready:
        engine.llm.generate(inputs, params, use_tqdm=False)
    return time.perf_counter() - started


def merged(calls: Sequence[Call]) -> list[Call]:
    """All prompts of one kind as one call: more than any system could send, which has to wait.

    A window's prompt holds the answer to the one before it, and a description's what the picture
    showed, so the product cannot know all prompts at once; what replays them does.
    """

    def kind(call: Call) -> tuple[int, tuple[str, ...]]:
        return call.max_tokens, tuple(call.labels)

    found = []
    for _, group in groupby(sorted(calls, key=kind), key=kind):
        same = list(group)
        prompts = [prompt for call in same for prompt in call.prompts]
        found.append(Call(prompts, same[0].max_tokens, same[0].labels))
    return found


def _params(inner: VLLMEngine, call: Call) -> list[Any]:
    if not call.labels:
        return [inner.sampling(call.max_tokens, prompt.schema) for prompt in call.prompts]
    return [inner.scoring(call.labels)] * len(call.prompts)
