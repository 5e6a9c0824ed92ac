"""The model as the nodes see it: asynchronous, and batched, cached and traced below this seam."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt


class Calls(Protocol):
    """A model to await."""

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        ...

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""
        ...

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        """See `Engine.score_labels`."""
        ...

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`."""
        ...
