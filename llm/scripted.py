"""An engine whose answers the caller writes: for tests of everything above the model."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt, Usage
from mllm_srec.llm.stopping import governing

_INFO = EngineInfo("scripted", "1", "scripted", hashlib.sha256(b"scripted").hexdigest(), "none")


def _even(prompt: Prompt, labels: Sequence[str]) -> Mapping[str, float]:
    return {label: -float(np.log(len(labels))) for label in labels}


@dataclass
class ScriptedEngine:
    """Answers by functions of the prompt, and remembers what it was asked.

    Words count as tokens.
    """

    answer: Callable[[Prompt], str] = lambda prompt: ""
    """Prompt to answer text."""
    score: Callable[[Prompt, Sequence[str]], Mapping[str, float]] = _even
    """Prompt and labels to log-probabilities."""
    info: EngineInfo = _INFO
    dimension: int = 16
    """Length of the vectors."""
    generated: list[Prompt] = field(default_factory=list)
    """All prompts that were answered, in order."""
    scored: list[Prompt] = field(default_factory=list)
    """All prompts that were scored, in order."""
    closed: bool = False

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """Ask the function for each prompt."""
        self.generated.extend(prompts)
        return [self._answered(prompt, max_tokens) for prompt in prompts]

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Yield the answer word by word."""
        (answer,) = self.generate([prompt], max_tokens=max_tokens)
        head, *rest = answer.text.split(" ")
        yield head
        yield from (f" {word}" for word in rest)

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Ask the function for each prompt."""
        self.scored.extend(prompts)
        return [
            LabelScores(dict(self.score(prompt, labels)), Usage(_words(prompt), 1))
            for prompt in prompts
        ]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Means of one random but fixed direction a word: texts that share words are near."""
        vectors = np.stack([self._vector(text) for text in texts] or [np.zeros(self.dimension)])
        return vectors[: len(texts)].astype(np.float32)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _answered(self, prompt: Prompt, max_tokens: int) -> Answer:
        governing().check()
        words = self.answer(prompt).split(" ")
        kept = " ".join(words[:max_tokens])
        usage = Usage(_words(prompt), min(len(words), max_tokens))
        return Answer(kept, usage, len(words) <= max_tokens)

    def _vector(self, text: str) -> NDArray[np.float64]:
        # The bare text is a word of its own, so that no text is without any.
        words = [*text.lower().split(), ""]
        seeds = [int.from_bytes(hashlib.sha256(w.encode()).digest()[:8], "big") for w in words]
        directions = [np.random.default_rng(seed).normal(size=self.dimension) for seed in seeds]
        total = np.sum(directions, axis=0)
        return np.asarray(total / np.linalg.norm(total), np.float64)


def _words(prompt: Prompt) -> int:
    return sum(len(message.text.split()) for message in prompt.messages)
