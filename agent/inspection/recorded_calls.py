"""The answers of one trace, given again: the calls of a replay. Nothing is ever invented."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from openinference.semconv.trace import EmbeddingAttributes, MessageAttributes
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.cache import STORED
from mllm_srec.agent.tracing.attributes import (
    IMAGE_URL,
    LOGPROB,
    Attributes,
    as_json,
    call_settings,
    input_messages,
)
from mllm_srec.agent.tracing.redaction import Redaction
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, ModelError, Prompt
from mllm_srec.store.spans import Attribute, Span

_ANSWER = f"{Names.LLM_OUTPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_CONTENT}"
_Key = tuple[str, str, frozenset[tuple[str, Attribute]]]


class RecordedCalls:
    """Answers by kind, settings, messages and the keys of pictures, as the spans hold them."""

    def __init__(self, spans: Iterable[Span], info: EngineInfo) -> None:
        """Take the answers of the spans of a trace.

        Args:
            spans: Of the trace.
            info: What answered then.
        """
        self.info = info
        self._clean = Redaction(frozenset(), pseudonym=str)
        self._spans = {_span_key(span): span.attributes for span in spans if span.status == "OK"}

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """The texts as they were.

        Raises:
            ModelError: The trace holds no answer to a prompt.
        """
        found = [self._find("generate", prompt, {"max_tokens": max_tokens}) for prompt in prompts]
        return [
            Answer(str(each[_ANSWER]), STORED, each.get(Names.LLM_FINISH_REASON) == "stop")
            for each in found
        ]

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """The log-probabilities as they were.

        Raises:
            ModelError: The trace holds no score of a prompt.
        """
        settings = {"labels": list(labels)}
        found = [self._find("score_labels", prompt, settings) for prompt in prompts]
        return [
            LabelScores({label: _float(each[LOGPROB + label]) for label in labels}, STORED)
            for each in found
        ]

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors as they were.

        Raises:
            ModelError: The trace holds no vectors of these texts.
        """
        asked = self._clean.attributes({Names.INPUT_VALUE: as_json(texts)})
        found = self._spans.get(_key("embed", as_json({}), asked))
        name = f"{Names.EMBEDDING_EMBEDDINGS}.%d.{EmbeddingAttributes.EMBEDDING_VECTOR}"
        if found is None or name % 0 not in found:
            raise ModelError(f"the trace holds no vectors of {list(texts)!r:.120}")
        return np.asarray([found[name % row] for row in range(len(texts))], np.float32)

    def _find(
        self, kind: str, prompt: Prompt, settings: Mapping[str, object]
    ) -> Mapping[str, Attribute]:
        addresses = {picture.key: "" for picture in prompt.pictures}
        # What looked like a secret was masked in what was recorded.
        asked = self._clean.attributes(input_messages(prompt.messages, addresses))
        [called] = call_settings(prompt, settings).values()
        key = _key(kind, str(called), asked)
        if key in self._spans:
            return self._spans[key]
        text = prompt.messages[-1].text
        told = f"the trace holds no {kind} of the prompt {text[:60]!r} ... {text[-60:]!r}"
        others = (then for name, then, parts in self._spans if (name, parts) == (kind, key[2]))
        if other := next(others, None):
            told += f" with these settings, {called}: it has one with {other}"
        raise ModelError(told)


def _span_key(span: Span) -> _Key:
    asked: Attributes = {
        name: value
        for name, value in span.attributes.items()
        if name == Names.INPUT_VALUE or name.startswith(Names.LLM_INPUT_MESSAGES)
    }
    settings = span.attributes.get(Names.LLM_INVOCATION_PARAMETERS, "")
    return _key(span.name, str(settings), asked)


def _key(kind: str, settings: str, asked: Mapping[str, Attribute]) -> _Key:
    # Pictures count by the key of their pixels, not by where the trace keeps their bytes.
    parts = {name: value for name, value in asked.items() if not name.endswith(IMAGE_URL)}
    return kind, settings, frozenset(parts.items())


def _float(value: Attribute) -> float:
    assert isinstance(value, int | float)
    return float(value)
