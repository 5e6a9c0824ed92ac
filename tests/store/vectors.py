"""Vectors to keep, and what they say they were made with."""

import numpy as np
from numpy.typing import NDArray

from mllm_srec.store.manifest import IndexFacts
from mllm_srec.store.representations import RepresentationIndex

Vectors = NDArray[np.float32]

FACTS = IndexFacts(
    model="srec-tiny", model_hash="m1", prompt_hash="p1", preparation_hash="i1", dimension=4
)


def unit(*rows: list[float]) -> Vectors:
    made: Vectors = np.array(rows, dtype=np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def drawn(count: int, dimension: int = 4, seed: int = 0) -> Vectors:
    return unit(*np.random.default_rng(seed).normal(size=(count, dimension)).tolist())


def again(index: RepresentationIndex) -> RepresentationIndex:
    """The same index as another process finds it."""
    index.close()
    return RepresentationIndex(index._folder)
