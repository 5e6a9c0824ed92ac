"""Calls to the model, recorded: prompts as sent, raw answers, label log-probabilities, tokens.

It stands above the dispatcher that merges the batches of several users, in the task of the node
that calls, so that each call lands below its own node.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from openinference.semconv.trace import EmbeddingAttributes
from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.results import Tokens
from mllm_srec.agent.tracing.attributes import (
    BATCH,
    LOGPROB,
    PHASE,
    PHASES,
    REDACTED,
    STORED,
    TOKEN_ID,
    Attributes,
    Done,
    as_json,
    call_settings,
    engine_attributes,
    input_messages,
    output_message,
    token_attributes,
    value_attributes,
)
from mllm_srec.agent.tracing.tracer import Step, current_step
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt, Usage
from mllm_srec.store.clock import watching

VECTORS_KEPT = 8
"""Texts of a batch whose vectors are recorded; larger batches go into the index anyway."""


class TracedCalls:
    """Passes calls on and records them below the current step; outside a run it only passes on."""

    def __init__(self, inner: Calls) -> None:
        self.inner = inner
        """What they go through."""

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self.inner.info

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """As `Engine.generate`."""
        with self._recorded("generate", prompts, {"max_tokens": max_tokens}) as spans:
            answers = await self.inner.generate(prompts, max_tokens=max_tokens)
            for span, answer in zip(spans, answers, strict=True):
                span.update(output_message(answer.text))
                span.update(_usage(answer.usage))
                span[Names.LLM_FINISH_REASON] = "stop" if answer.finished else "length"
        return answers

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """As `Engine.score_labels`."""
        settings = {"labels": list(labels)}
        with self._recorded("score_labels", prompts, settings) as spans:
            scores = await self.inner.score_labels(prompts, labels)
            for span, score in zip(spans, scores, strict=True):
                if step := current_step():
                    step.run.add_score(_margin(score, labels))
                best = max(score.logprobs, key=lambda label: score.logprobs[label])
                span.update(output_message(best))
                span.update({LOGPROB + label: value for label, value in score.logprobs.items()})
                span.update({TOKEN_ID + label: each for label, each in score.token_ids.items()})
                span.update(_usage(score.usage))
        return scores

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Engine.embed`, one span a batch; the vectors of few texts are recorded with them."""
        with self._recorded("embed", [texts], {}) as [span]:
            vectors = await self.inner.embed(texts)
            if len(texts) <= VECTORS_KEPT:
                span.update(_embeddings(vectors))
        return vectors

    @contextmanager
    def _recorded(
        self, name: str, asked: Sequence[Prompt | Sequence[str]], settings: Mapping[str, object]
    ) -> Iterator[list[Attributes]]:
        """Record what happens inside as a batch of calls; the caller adds the answers."""
        answers: list[Attributes] = [{} for _ in asked]
        step = current_step()
        if step is None:
            yield answers
            return
        start_ns, error = time.time_ns(), None
        try:
            with watching(None):  # The step cache is a part of the call.
                yield answers
        except BaseException as caught:
            error = caught
            raise
        finally:
            shown = {
                picture.key: picture
                for each in asked
                if isinstance(each, Prompt)
                for picture in each.pictures
            }
            files = step.run.tracer.files(shown.values())
            addresses = dict.fromkeys(shown, REDACTED) | {
                key: f"sha256:{sha256(png).hexdigest()}" for key, png in files.items()
            }
            spans = [
                {**_asked(each, settings, addresses), **answer}
                for each, answer in zip(asked, answers, strict=True)
            ]
            self._put(step, name, spans, files.values(), start_ns, error)

    def _put(
        self,
        step: Step,
        name: str,
        spans: Sequence[Attributes],
        pictures: Iterable[bytes],
        start_ns: int,
        error: BaseException | None,
    ) -> None:
        """Write the spans with the pictures that they name, and count them for the run."""
        kind = Kind.EMBEDDING if name == "embed" else Kind.LLM
        same: Attributes = {
            Names.OPENINFERENCE_SPAN_KIND: kind.value,
            BATCH: len(spans),
            **engine_attributes(self.info),
        }
        end_ns = time.time_ns()
        done = [Done(name, {**span, **same}, start_ns, end_ns) for span in spans]
        step.run.tracer.put_done(step, done, error, pictures)
        step.run.add_tokens(step.name, sum(map(_counted, spans), Tokens()))


def _asked(
    asked: Prompt | Sequence[str], settings: Mapping[str, object], addresses: Mapping[str, str]
) -> Attributes:
    """A prompt, or a batch of texts, as attributes; pictures by their addresses."""
    if not isinstance(asked, Prompt):
        return {
            **value_attributes(Names.INPUT_VALUE, Names.INPUT_MIME_TYPE, list(asked)),
            Names.LLM_INVOCATION_PARAMETERS: as_json(settings),
        }
    return {**input_messages(asked.messages, addresses), **call_settings(asked, settings)}


def _embeddings(vectors: NDArray[np.float32]) -> Attributes:
    """Vectors (N, D), each number by the shortest decimals that give it back."""
    name = f"{Names.EMBEDDING_EMBEDDINGS}.%d.{EmbeddingAttributes.EMBEDDING_VECTOR}"
    return {name % row: [float(str(x)) for x in vector] for row, vector in enumerate(vectors)}


def _margin(score: LabelScores, labels: Sequence[str]) -> float:
    """The first label's log-probability less the second's; not a number for other counts."""
    first, second = labels if len(labels) == 2 else ("", "")
    return score.logprobs.get(first, np.nan) - score.logprobs.get(second, np.nan)


def _usage(usage: Usage) -> Attributes:
    """Tokens of an answer, or that it was stored; the tokens of a stored one were paid before."""
    if usage.stored:
        return {STORED: True}
    tokens = Tokens(
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
        cached=usage.cached_tokens or 0,
    )
    seconds = (usage.queue_s, usage.prefill_s, usage.decode_s)
    phases = zip(PHASES, seconds, strict=True)
    return {
        **token_attributes(tokens),
        **{PHASE % name: value for name, value in phases if value is not None},
    }


def _counted(span: Attributes) -> Tokens:
    """One call with its tokens, zeros where it was not answered."""
    if STORED in span:
        return Tokens(stored=1)

    def count(name: str) -> int:
        value = span.get(name, 0)
        assert isinstance(value, int)
        return value

    return Tokens(
        calls=1,
        prompt=count(Names.LLM_TOKEN_COUNT_PROMPT),
        completion=count(Names.LLM_TOKEN_COUNT_COMPLETION),
        cached=count(Names.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ),
    )
