"""Matrices from item to item in closed form: cosine, EASE, directed transitions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse


def sparse_matrix(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: Sequence[float] | NDArray[np.float64],
    shape: tuple[int, int],
) -> sparse.csr_matrix:
    """A sparse float32 matrix; values of the same place are added."""
    data = np.asarray(values, np.float32)
    matrix = sparse.csr_matrix((data, (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def cosine(together: sparse.csr_matrix, counts: NDArray[np.float64]) -> sparse.csr_matrix:
    """Cosine of two items' users (N, N); nothing from an item to itself.

    Args:
        together: Users who liked both of two items (N, N).
        counts: Users who liked each item (N,).
    """
    inverse = sparse.diags_array(1.0 / np.sqrt(np.maximum(counts, 1.0)), dtype=np.float32)
    matrix = sparse.csr_matrix(inverse @ together @ inverse)
    matrix.setdiag(0.0)
    matrix.eliminate_zeros()
    return matrix


def transitions(
    users: NDArray[np.int64], items: NDArray[np.int64], n: int, *, reach: int, decay: float
) -> sparse.csr_matrix:
    """How often one item was liked after another, near pairs more.

    Divided by the square root of an item's outgoing weight: on the films and Beauty this ranked
    better on validation than probabilities (divided by all of it), which overrate rare items.

    Args:
        users: User of each like (L,), sorted.
        items: Item of each like (L,), in time order for each user.
        n: Number of items.
        reach: Farthest pair of likes that counts.
        decay: A pair d likes apart counts `decay ** (d - 1)`.
    """
    sources, targets, weights = [], [], []
    for distance in range(1, reach + 1):
        same = users[:-distance] == users[distance:]
        sources.append(items[:-distance][same])
        targets.append(items[distance:][same])
        weights.append(np.full(int(same.sum()), decay ** (distance - 1)))
    pairs = sparse_matrix(
        np.concatenate(sources), np.concatenate(targets), np.concatenate(weights), (n, n)
    )
    outgoing = np.asarray(pairs.sum(axis=1)).ravel()
    scale = sparse.diags_array(1.0 / np.sqrt(np.maximum(outgoing, 1.0)), dtype=np.float32)
    matrix = sparse.csr_matrix(scale @ pairs)
    matrix.setdiag(0.0)
    matrix.eliminate_zeros()
    return matrix


def ease(together: sparse.csr_matrix, *, ridge: float, links: int) -> sparse.csr_matrix:
    """EASE (Steck 2019): the linear model of an item from all others, in closed form.

    Args:
        together: Users who liked both of two items (N, N).
        ridge: Lambda.
        links: Strongest weights kept of each item.
    """
    gram = together.toarray()
    diagonal = np.diag_indices_from(gram)
    gram[diagonal] += ridge
    inverse = linalg.inv(gram, assume_a="pos", overwrite_a=True, check_finite=False)
    inverse /= -np.diag(inverse).copy()
    inverse[diagonal] = 0.0
    return strongest(inverse, links)


def strongest(matrix: sparse.csr_matrix | NDArray[np.float32], links: int) -> sparse.csr_matrix:
    """Keep the `links` values of each row that are farthest from zero; of equals the first."""
    n = matrix.shape[0]
    columns, values, ends = [], [], np.zeros(n + 1, np.int64)
    for row in range(n):
        if isinstance(matrix, np.ndarray):
            kept = np.flatnonzero(matrix[row])
            data = matrix[row, kept]
        else:
            place = slice(matrix.indptr[row], matrix.indptr[row + 1])
            kept, data = matrix.indices[place], matrix.data[place]
        if len(kept) > links:
            size = np.abs(data)
            least = np.partition(size, -links)[-links]
            best = np.flatnonzero(size >= least)
            # More than `links` where several are as large as the least of them.
            best = np.sort(best[np.argsort(-size[best], kind="stable")[:links]])
            kept, data = kept[best], data[best]
        columns.append(kept)
        values.append(data)
        ends[row + 1] = ends[row] + len(kept)
    fields = (
        np.concatenate([*values, np.empty(0, np.float32)]).astype(np.float32),
        np.concatenate([*columns, np.empty(0, np.int64)]).astype(np.int32),
        ends,
    )
    return sparse.csr_matrix(fields, shape=(n, n))
