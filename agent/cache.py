"""Answers kept by content: the same question to the same model is asked once.

The key covers the prompt with its pictures, the model's weights, the engine with its version and
precision, and the settings of the call. So a repeated request returns stored numbers, a lost engine
costs only what it had not answered yet, and one new interaction re-runs one window, the profile and
the scoring.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.tracing.tracer import current_step
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt, Usage
from mllm_srec.store.steps import StepCache

T = TypeVar("T")
STORED = Usage(prompt_tokens=0, completion_tokens=0, cached_tokens=0, stored=True)
"""What an answer from the cache costs."""


class CachedCalls:
    """Model calls that look into the home's step cache first."""

    def __init__(self, inner: Calls, steps: StepCache) -> None:
        self._inner = inner
        self._steps = steps
        info = inner.info
        self._base = hashlib.sha256(
            "\0".join((info.engine, info.version, info.model_hash, info.dtype)).encode()
        ).digest()

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._inner.info

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""

        async def run(missing: Sequence[Prompt]) -> Sequence[Answer]:
            return await self._inner.generate(missing, max_tokens=max_tokens)

        return await self._through(
            prompts,
            f"generate {max_tokens}",
            run,
            pack=lambda answer: json.dumps([answer.text, answer.finished]),
            unpack=_stored_answer,
        )

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """See `Engine.score_labels`."""

        async def run(missing: Sequence[Prompt]) -> Sequence[LabelScores]:
            return await self._inner.score_labels(missing, labels)

        return await self._through(
            prompts,
            f"score_labels {json.dumps(list(labels))}",
            run,
            pack=lambda scores: json.dumps([dict(scores.logprobs), dict(scores.token_ids)]),
            unpack=_stored_scores,
        )

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`; vectors are cheaper to make than to look up."""
        return await self._inner.embed(texts)

    async def _through(
        self,
        prompts: Sequence[Prompt],
        settings: str,
        run: Callable[[Sequence[Prompt]], Any],
        *,
        pack: Callable[[T], str],
        unpack: Callable[[str], T],
    ) -> list[T]:
        keys = [self._key(prompt, settings) for prompt in prompts]
        found = self._steps.get_many(keys)
        missing = {
            key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in found
        }
        if missing:
            made = await run(list(missing.values()))
            fresh = dict(zip(missing, made, strict=True))
            step = current_step()
            self._steps.put_many(
                {key: pack(answer) for key, answer in fresh.items()},
                owner=step.run.user if step else None,
            )
            return [fresh[key] if key in fresh else unpack(found[key]) for key in keys]
        return [unpack(found[key]) for key in keys]

    def _key(self, prompt: Prompt, settings: str) -> str:
        digest = hashlib.sha256(self._base)
        digest.update(f"{settings}\0{prompt.schema or ''}".encode())
        for message in prompt.messages:
            pictures = ",".join(picture.key for picture in message.pictures)
            digest.update(f"\0{message.role}\0{pictures}\0{message.text}".encode())
        return digest.hexdigest()


def _stored_scores(packed: str) -> LabelScores:
    found = json.loads(packed)
    # Earlier versions kept the log-probabilities alone.
    logprobs, token_ids = (found, {}) if isinstance(found, dict) else found
    return LabelScores(logprobs, STORED, token_ids)


def _stored_answer(packed: str) -> Answer:
    text, finished = json.loads(packed)
    return Answer(text=text, usage=STORED, finished=finished)
