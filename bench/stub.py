"""A generated catalogue, and an engine that costs nothing: what is left is the product's own."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mllm_srec.agent.nodes.fuse_items import VisualAnswer
from mllm_srec.llm.answer_schema import form_name
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt, Usage
from mllm_srec.store.records import FusedItem

DIMENSION = 256
"""Of the vectors; that of srec-tiny."""
DIRECTIONS = 4_096
"""Distinct vectors that texts are given: one an item would be slower to draw than to store."""
PER_ITEM = 5
"""Interactions an item has on average."""
HISTORY = 10
"""Interactions of a user."""
KINDS, COLOURS, BRANDS = 40, 12, 200
INFO = EngineInfo("stub", "1", "stub", "0" * 64, "none")
NOTHING = Usage(0, 0)


class StubEngine:
    """Answers at once, whatever is asked: each item in one form, each candidate alike."""

    info = INFO

    def __init__(self) -> None:
        drawn = np.random.default_rng(0).normal(size=(DIRECTIONS, DIMENSION))
        self._vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """The shortest valid answer of the schema's kind, with words of the item's title."""
        del max_tokens
        return [Answer(_answer(prompt), NOTHING, finished=True) for prompt in prompts]

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Nothing: no path that is measured streams."""
        del prompt, max_tokens
        yield ""

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """A number made of the prompt, so that candidates differ."""
        first, *others = labels
        scores = []
        for prompt in prompts:
            chance = (zlib.crc32(prompt.messages[-1].text.encode()) % 1_000 + 1) / 1_002
            rest = float(np.log((1 - chance) / len(others)))
            logprobs = {first: float(np.log(chance))} | dict.fromkeys(others, rest)
            scores.append(LabelScores(logprobs, NOTHING))
        return scores

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One of the kept vectors for each text (N, D)."""
        rows = [zlib.crc32(text.encode()) % DIRECTIONS for text in texts]
        return np.asarray(self._vectors[rows])

    def close(self) -> None:
        """Nothing to give back."""


def _answer(prompt: Prompt) -> str:
    if prompt.schema and form_name(prompt.schema) in (VisualAnswer.__name__, FusedItem.__name__):
        text = prompt.messages[-1].text
        words = text.partition("Title: ")[2].partition("\n")[0].split()
        told = ",".join(f'"{name}":"{word}"' for name, word in zip("ab", words[:2], strict=False))
        return f'{{"what":"{(words or ["thing"])[-1]}","seen":{{}},"told":{{{told}}}}}'
    return "{}"


def write_catalogue(folder: Path, items: int, *, seed: int = 1) -> tuple[Path, Path]:
    """Write so many items without pictures, and their interactions; returns both files.

    Users choose by a popularity that falls with the item's number, as shops know it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    kinds, colours, brands = (rng.integers(0, n, items) for n in (KINDS, COLOURS, BRANDS))
    ids = np.array([f"g{number:07d}" for number in range(items)])
    titles = [
        f"colour{colour} brand{brand} kind{kind}"
        for kind, colour, brand in zip(kinds, colours, brands, strict=True)
    ]
    paths = folder / "items.parquet", folder / "interactions.parquet"
    pl.DataFrame({"item_id": ids, "title": titles}).write_parquet(paths[0])
    users = max(items * PER_ITEM // HISTORY, 1)
    # The power keeps the head of the popularity in proportion at every size.
    chosen = (items * rng.random((users, HISTORY)) ** 2).astype(np.int64)
    rows = {
        "user_id": np.repeat([f"u{number:07d}" for number in range(users)], HISTORY),
        "item_id": ids[chosen.ravel()],
        "position": np.tile(np.arange(HISTORY), users),
        "timestamp": np.tile(1_700_000_000 + 86_400 * np.arange(HISTORY), users),
    }
    pl.DataFrame(rows).unique(["user_id", "item_id"], keep="first", maintain_order=True).sort(
        "user_id", "position"
    ).write_parquet(paths[1])
    return paths
