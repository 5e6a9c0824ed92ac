"""Answers by content hash: recorded from a real engine once, replayed without any."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllm_srec.llm.engine import (
    Answer,
    Engine,
    EngineInfo,
    LabelScores,
    ModelError,
    Prompt,
    Usage,
)


class RecordingEngine:
    """Passes every call on to an engine and keeps the answers."""

    def __init__(self, inner: Engine, store: MutableMapping[str, str]) -> None:
        """Record what `inner` answers into `store`, a mapping of hash to JSON text."""
        self._inner = inner
        self._store = store

    @property
    def info(self) -> EngineInfo:
        """What answers: the engine behind."""
        return self._inner.info

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """Answer and record."""
        answers = self._inner.generate(prompts, max_tokens=max_tokens)
        for prompt, answer in zip(prompts, answers, strict=True):
            self._keep("generate", prompt, [max_tokens], _untimed(answer))
        return answers

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Pass the pieces on; a stream that is read to its end is recorded."""
        pieces = []
        for piece in self._inner.stream(prompt, max_tokens=max_tokens):
            pieces.append(piece)
            yield piece
        self._keep("stream", prompt, [max_tokens], pieces)

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Score and record."""
        scores = self._inner.score_labels(prompts, labels)
        for prompt, score in zip(prompts, scores, strict=True):
            self._keep("score_labels", prompt, [list(labels)], _untimed(score))
        return scores

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed and record."""
        vectors = self._inner.embed(texts)
        for text, vector in zip(texts, vectors, strict=True):
            data = base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
            self._store[_hash(self.info, "embed", text)] = json.dumps(data)
        return vectors

    def close(self) -> None:
        """Close the engine behind; the store is its owner's."""
        self._inner.close()

    def _keep(self, kind: str, prompt: Prompt, settings: list[Any], content: Any) -> None:
        self._store[_prompt_hash(self.info, kind, prompt, settings)] = json.dumps(content)


class RecordedEngine:
    """Replays what a `RecordingEngine` kept; it never invents an answer."""

    def __init__(self, store: Mapping[str, str], info: EngineInfo) -> None:
        """Replay from `store`.

        Args:
            store: Hash to JSON text.
            info: The engine that was recorded; its model hash is part of every key.
        """
        self._store = store
        self._recorded = info
        self._info = replace(info, engine="recorded")

    @property
    def info(self) -> EngineInfo:
        """The model that was recorded, under the name of this engine."""
        return self._info

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """Replay each answer.

        Raises:
            ModelError: A prompt was never recorded with these settings.
        """
        found = (self._find("generate", prompt, [max_tokens]) for prompt in prompts)
        return [Answer(**{**content, "usage": Usage(**content["usage"])}) for content in found]

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Replay the pieces of one answer."""
        yield from self._find("stream", prompt, [max_tokens])

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Replay each score."""
        found = (self._find("score_labels", prompt, [list(labels)]) for prompt in prompts)
        return [LabelScores(**{**each, "usage": Usage(**each["usage"])}) for each in found]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Replay each vector."""
        rows = []
        for text in texts:
            content = self._store.get(_hash(self._recorded, "embed", text))
            if content is None:
                raise _missing("vector", text)
            rows.append(np.frombuffer(base64.b64decode(json.loads(content)), "<f4"))
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)

    def close(self) -> None:
        """Nothing to give back."""

    def _find(self, kind: str, prompt: Prompt, settings: list[Any]) -> Any:
        content = self._store.get(_prompt_hash(self._recorded, kind, prompt, settings))
        if content is None:
            raise _missing(kind, prompt.messages[-1].text)
        return json.loads(content)


def _untimed(answer: Answer | LabelScores) -> dict[str, Any]:
    """An answer as it is kept: how long it took then says nothing of a replay."""
    usage = replace(answer.usage, queue_s=None, prefill_s=None, decode_s=None)
    return asdict(replace(answer, usage=usage))


def _prompt_hash(info: EngineInfo, kind: str, prompt: Prompt, settings: list[Any]) -> str:
    messages = [
        [message.role, message.text, [picture.key for picture in message.pictures]]
        for message in prompt.messages
    ]
    return _hash(info, kind, [messages, prompt.schema, settings])


def _hash(info: EngineInfo, kind: str, content: Any) -> str:
    text = json.dumps([info.model_hash, kind, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _missing(kind: str, text: str) -> ModelError:
    shown = text if len(text) <= 120 else f"{text[:60]} ... {text[-60:]}"
    return ModelError(
        f"no recorded {kind} for the prompt {shown!r}: record it again with the current prompts "
        "and model"
    )
