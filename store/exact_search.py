"""The nearest of a few vectors, each compared: faster than a search that must skip the others."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def nearest_of(
    kept: Mapping[str, NDArray[np.float32]], vector: NDArray[np.float32], k: int
) -> list[tuple[str, float]]:
    """The k nearest to a vector (D,) of those kept by id: id and cosine distance, ties by id."""
    if not kept:
        return []
    matrix = np.stack(list(kept.values()))  # (N, D)
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector)
    distances = 1.0 - matrix @ vector / lengths
    pairs = zip(kept, distances.tolist(), strict=True)
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))[:k]
