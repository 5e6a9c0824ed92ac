"""The seam to a multimodal model: one small protocol, and the values that cross it.

An engine knows prompts and tokens; it does not know items, users or the chain.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


class ModelError(Exception):
    """A model could not be loaded, reached, or made to answer; the message names the way out."""


class EngineLost(ModelError):
    """The engine stopped answering; the same call may succeed on a restarted engine."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A prepared picture: what `prepare` makes, the same for training and serving."""

    pixels: bytes = field(repr=False)
    """RGB, row by row from the top (height x width x 3), within the model's pixel budget."""
    key: str
    """SHA-256 of the pixels and the preparation version; cache keys are made of it."""
    width: int
    height: int


Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a prompt. Pictures stand before the text."""

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A multimodal prompt: messages in order, the last one the user's."""

    messages: tuple[Message, ...]
    schema: str | None = None
    """JSON schema that a generated answer is held to, as JSON text; see `answer_schema`."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in the order in which the model sees them."""
        return tuple(picture for message in self.messages for picture in message.pictures)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    """Prompt tokens found in the prefix cache; None where the engine does not say."""
    queue_s: float | None = None
    """Seconds that the prompt waited in the engine; None, as for the next two, where it does not
    say."""
    prefill_s: float | None = None
    """Seconds from there to the first token."""
    decode_s: float | None = None
    """Seconds from the first to the last token."""
    stored: bool = False
    """True where the answer was kept from an earlier run and no engine was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The text that a model gave to one prompt."""

    text: str
    usage: Usage
    finished: bool
    """False when the token limit cut the answer."""


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Log-probabilities of the named labels as the next token."""

    logprobs: Mapping[str, float]
    """Label to natural-log probability under the full next-token distribution."""
    usage: Usage
    token_ids: Mapping[str, int] = field(default_factory=dict)
    """Label to the token that stands for it; empty where no tokens were looked at."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What answered: stands in every answer, trace and JSON."""

    engine: str
    """`vllm`, `vllm-server`, `transformers`, `recorded` or `scripted`."""
    version: str
    model: str
    """Name of the model, without the path that leads to it."""
    model_hash: str
    """SHA-256 over weights, configuration, tokenizer and chat template."""
    dtype: str


class Engine(Protocol):
    """A loaded multimodal model. Calls are batches; answers come in the order of the prompts.

    A call whose `Stop` is asked (see `stopping`) breaks off with `Stopped`.
    """

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        ...

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """Answer each prompt greedily, within its JSON schema where it has one.

        Raises:
            ModelError: A prompt is too long or has a picture that the model cannot take.
            EngineLost: The engine stopped answering.
        """
        ...

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Yield the pieces of one answer as they are made; joined they are `generate`'s text."""
        ...

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Log-probabilities of `labels` as the next token of each prompt.

        Prompts that share a beginning pay for it once.

        Raises:
            ModelError: A label is not exactly one token for this model.
        """
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of texts."""
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...
