"""Whether an index can be used: what it says of itself, and what speaks against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from mllm_srec.store import chroma
from mllm_srec.store.errors import StoreError
from mllm_srec.store.manifest import IndexFacts, Manifest

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What `srec index status` shows."""

    facts: IndexFacts | None
    """None where no vector was ever kept."""
    count: int
    """Vectors that Chroma holds."""
    expected: int
    """Vectors that the manifest tells of."""
    interrupted: bool
    """A write was cut off; the next ingest completes it."""
    generation: int
    size: int
    """Bytes on disk; 0 for a Chroma server."""
    problem: str | None
    """Why the vectors cannot be used, with the way out; None when they can."""

    @classmethod
    def of(cls, manifest: Manifest | None, *, count: int, size: int, problem: str | None) -> Self:
        """What a manifest tells, beside what was found."""
        return cls(
            facts=manifest.facts if manifest else None,
            count=count,
            expected=manifest.count if manifest else 0,
            interrupted=manifest.writing if manifest else False,
            generation=manifest.generation if manifest else 0,
            size=size,
            problem=problem,
        )


def check_vectors(ids: Sequence[str], vectors: NDArray[np.float32], dimension: int) -> None:
    """Refuse vectors that are not (N, D), or have no direction.

    Raises:
        ValueError: They are not fit to be kept.
    """
    if vectors.shape != (len(ids), dimension):
        raise ValueError(f"vectors {vectors.shape}: expected {(len(ids), dimension)}")
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise ValueError("a vector is zero or not finite: it has no direction")


def collection_problem(collection: "Collection", manifest: Manifest) -> str | None:
    """What is wrong with a collection, found by counting and by asking for one vector."""
    count = collection.count()
    if count != manifest.count and not manifest.writing:
        return f"{count:,} vectors are there, the manifest tells of {manifest.count:,}"
    if not count:
        return None
    rows = np.asarray(collection.peek(1)["embeddings"], dtype=np.float32)  # (1, D)
    if rows.shape[1] != manifest.facts.dimension:
        return f"the vectors have {rows.shape[1]} dimensions, not {manifest.facts.dimension}"
    return None if chroma.query(collection, rows[0], 1) else "no vector is found"


def check_release(manifest: Manifest) -> None:
    """Refuse vectors that a newer Chroma wrote than is installed.

    Raises:
        StoreError: The message names both.
    """
    if _release(manifest.chroma) > _release(version("chromadb")):
        raise StoreError(
            f"the vectors were written by Chroma {manifest.chroma}, installed is "
            f"{version('chromadb')}: upgrade chromadb"
        )


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
