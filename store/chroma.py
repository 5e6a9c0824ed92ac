"""Chroma as the index needs it: vectors in, ids and distances out. Only used by the index."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from mllm_srec.store.clock import store_time
from mllm_srec.store.errors import IndexMismatch, StoreError
from mllm_srec.store.files import disk_full, private_folder
from mllm_srec.store.manifest import DISTANCE, rebuild_hint
from mllm_srec.store.sql import chunks

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

Opened: TypeAlias = "tuple[Client, Collection]"

BATCH = 1_000
"""Vectors of one write; 1,750 vectors of 256 dimensions a second were measured with it."""

# With these, the nearest 100 of 20,000 random vectors were all found.
_GRAPH = {"space": DISTANCE, "ef_construction": 200, "ef_search": 400, "max_neighbors": 32}


def connect(place: str | Path, name: str, *, fresh: bool) -> Opened:
    """Open a collection, or make an empty one in the place of what had its name.

    Args:
        place: A folder for embedded Chroma, or the address of a server.
        name: Of the collection.
        fresh: Make it.
    """
    if isinstance(place, Path):
        client = _embedded(place, fresh=fresh)
    else:
        client = _remote(place)
        if fresh:
            drop(client, name)
    if not fresh:
        return client, client.get_collection(name, embedding_function=None)
    configuration: Any = {"hnsw": _GRAPH}
    return client, client.create_collection(
        name, configuration=configuration, embedding_function=None
    )


def drop(client: "Client", name: str) -> None:
    """Delete a collection, if it is there."""
    if name in {found.name for found in client.list_collections()}:
        client.delete_collection(name)


def fill(collection: "Collection", ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Keep vectors (N, D) under ids (N); of a repeated id the last one counts."""
    last = {item_id: row for row, item_id in enumerate(ids)}
    for part in chunks(last.items(), BATCH):
        rows = np.asarray(vectors[[row for _, row in part]], dtype=np.float32)
        collection.upsert(ids=[item_id for item_id, _ in part], embeddings=rows)


def get(collection: "Collection", ids: list[str]) -> dict[str, NDArray[np.float32]]:
    """Vectors (D,) by id; unknown ids are left out."""
    found = collection.get(ids=ids, include=["embeddings"])
    rows = np.asarray(found["embeddings"], dtype=np.float32)
    return dict(zip(found["ids"], rows, strict=True))


def stored(
    collection: "Collection",
) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Yield all vectors (N, D) with their ids (N), by id."""
    for part in chunks(sorted(collection.get(include=[])["ids"]), BATCH):
        kept = get(collection, part)
        yield list(kept), np.stack(list(kept.values()))


def query(collection: "Collection", vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
    """The k nearest to a vector (D,): id and cosine distance, nearest first, ties by id."""
    # Items with one description have one vector: of those at the edge, the first by id are taken.
    wide = min(k + 32, collection.count())
    if wide <= 0:
        return []
    embeddings = np.asarray(vector, dtype=np.float32)[None]  # (1, D)
    found = collection.query(query_embeddings=embeddings, n_results=wide, include=["distances"])
    distances = (found["distances"] or [[]])[0]
    pairs = zip(found["ids"][0], distances, strict=True)
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))[:k]


@contextmanager
def chroma_errors(path: Path) -> Iterator[None]:
    """Turn what Chroma says into one line with a way out.

    Raises:
        StoreError: The disk is full, or the server does not answer.
        IndexMismatch: The vectors cannot be read.
    """
    from chromadb.errors import ChromaError  # noqa: PLC0415 - heavy

    try:
        with store_time("Chroma"):
            yield
    except httpx.HTTPError as error:
        raise StoreError(f"the Chroma server does not answer any more: {error}") from error
    except ChromaError as error:
        if "is full" in str(error) or "disk I/O" in str(error):
            raise StoreError(disk_full(path.parent)) from error
        raise IndexMismatch(
            f"the vectors cannot be used ({error}): {rebuild_hint(path)}"
        ) from error


def _embedded(folder: Path, *, fresh: bool) -> "Client":
    # Chroma takes half a second to import: only what reads vectors pays for it.
    import chromadb  # noqa: PLC0415
    from chromadb.api.client import Client  # noqa: PLC0415
    from chromadb.config import Settings  # noqa: PLC0415

    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    client = chromadb.PersistentClient(
        private_folder(folder), settings=Settings(anonymized_telemetry=False)
    )
    assert isinstance(client, Client)
    return client


def _remote(url: str) -> "Client":
    # As above.
    import chromadb  # noqa: PLC0415
    from chromadb.api.client import Client  # noqa: PLC0415
    from chromadb.config import Settings  # noqa: PLC0415

    parts = urlsplit(url)
    try:
        client = chromadb.HttpClient(
            host=parts.hostname or "localhost",
            port=parts.port or (443 if parts.scheme == "https" else 8000),
            ssl=parts.scheme == "https",
            settings=Settings(anonymized_telemetry=False),
        )
    except (ValueError, httpx.HTTPError) as error:
        raise StoreError(f"no Chroma server answers at {parts.hostname}:{parts.port}") from error
    assert isinstance(client, Client)
    return client
