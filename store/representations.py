"""Vectors of the items in Chroma: a derived index that can be rebuilt from the catalogue."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from mllm_srec.store import chroma
from mllm_srec.store.errors import IndexMismatch, StoreError
from mllm_srec.store.exact_search import nearest_of
from mllm_srec.store.gate import Gate
from mllm_srec.store.generations import Generations
from mllm_srec.store.index_checks import (
    IndexStatus,
    check_release,
    check_vectors,
    collection_problem,
)
from mllm_srec.store.manifest import (
    IndexFacts,
    Manifest,
    check_facts,
    manifest_if_readable,
    read_manifest,
    rebuild_hint,
)
from mllm_srec.store.sql import chunks

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

_EXACT = 2_000
"""Up to so many allowed items are compared one by one: faster than widening the search."""


class RepresentationIndex:
    """Unit vectors of items by id.

    One process writes, under the lock of the home; readers notice its writes and reopen. Chroma
    embeds nothing here: vectors are always given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lock: Callable[[], AbstractContextManager[None]] = nullcontext,
        chroma_url: str | None = None,
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._url = chroma_url
        self._path = self._folder / "manifest.json"
        self._generations = Generations(folder)
        self._wanted: IndexFacts | None = None
        self._client: Client | None = None
        self._collection: Collection | None = None
        self._manifest: Manifest | None = None
        self._guard = threading.RLock()
        self._gate = Gate(folder / "gate.lock")

    @property
    def facts(self) -> IndexFacts | None:
        """What the stored vectors were made with, None where there are none."""
        manifest = read_manifest(self._path)
        return manifest.facts if manifest else None

    def use(self, facts: IndexFacts) -> None:
        """Say with what vectors are made from now on; check that the stored ones fit.

        Raises:
            IndexMismatch: They do not, or cannot be read; the message names the rebuild command.
        """
        manifest = read_manifest(self._path)
        if manifest and (manifest.count or manifest.writing):
            check_facts(manifest.facts, facts, self._path)
            with self._reading():
                pass
        self._wanted = facts

    def put(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep vectors (N, D) under ids (N); one of the same id is replaced.

        Raises:
            IndexMismatch: The stored vectors were made otherwise.
        """
        if not ids:
            return
        if self._wanted is None:
            raise ValueError("say with `use` what the vectors are made with")
        check_vectors(ids, vectors, self._wanted.dimension)
        with self._writing(self._wanted) as collection:
            chroma.fill(collection, ids, vectors)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete vectors; unknown ids are left out."""
        manifest = read_manifest(self._path)
        if manifest is None or not (manifest.count or manifest.writing):
            return
        with self._writing(manifest.facts) as collection:
            for part in chunks(dict.fromkeys(ids), chroma.BATCH):
                collection.delete(ids=part)

    def nearest(
        self, vector: NDArray[np.float32], k: int, allowed: Iterable[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k nearest items, nearest first, ties by id.

        Args:
            vector: (D,).
            k: How many at most.
            allowed: Ids that may be found; all by default.

        Returns:
            Pairs of id and cosine distance, 0 to 2.
        """
        if allowed is None:
            with self._reading() as collection:
                return chroma.query(collection, vector, k) if collection else []
        members = set(allowed)
        if len(members) > _EXACT:
            with self._reading() as collection:
                if not collection:
                    return []
                # Chroma's own filter took 67 ms where this takes 5.
                for width in (4 * k, 16 * k):
                    near = chroma.query(collection, vector, width)
                    found = [pair for pair in near if pair[0] in members]
                    if len(found) >= k:
                        return found[:k]
        return nearest_of(self.vectors(members), vector, k)

    def vectors(self, ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors (D,) by id; unknown ids are left out."""
        kept: dict[str, NDArray[np.float32]] = {}
        with self._reading() as collection:
            if collection:
                for part in chunks(dict.fromkeys(ids), chroma.BATCH):
                    kept.update(chroma.get(collection, part))
        return kept

    def ids(self) -> set[str]:
        """The ids of all vectors."""
        with self._reading() as collection:
            return set(collection.get(include=[])["ids"]) if collection else set()

    def count(self) -> int:
        """How many vectors there are."""
        with self._reading() as collection:
            return collection.count() if collection else 0

    def rebuild(
        self, facts: IndexFacts, batches: Iterable[tuple[Sequence[str], NDArray[np.float32]]]
    ) -> int:
        """Replace the whole index; the old one stays in use until the new one is complete.

        Works on an index that cannot be read any more.

        Args:
            facts: What the new vectors are made with.
            batches: Ids (N) with vectors (N, D).

        Returns:
            How many vectors the new index holds.
        """
        with self._lock(), self._guard, chroma.chroma_errors(self._path):
            old = manifest_if_readable(self._path)
            new = Manifest(
                facts=facts,
                name=old.name if old else uuid4().hex[:12],
                generation=self._generations.next(old.generation if old else 0),
                revision=old.revision + 1 if old else 0,
                count=0,
                writing=False,
                chroma=version("chromadb"),
            )
            with ExitStack() as undoing:
                # Half an index on a full disk would keep it full.
                undoing.callback(self._generations.remove, new.generation)
                client, collection = self._connect(new, fresh=True)
                undoing.callback(client.close)
                for ids, vectors in batches:
                    check_vectors(ids, vectors, facts.dimension)
                    chroma.fill(collection, ids, vectors)
                undoing.pop_all()
            self.close()
            self._client, self._collection = client, collection
            with self._gate.hold(alone=True):
                self._save(replace(new, count=collection.count()))
                self._remove_others(new, old)
            self._wanted = facts
            return collection.count()

    def compact(self) -> tuple[int, int]:
        """Copy the vectors to a fresh index, since Chroma's files never shrink.

        Returns:
            Bytes on disk before and after.
        """
        with self._lock(), self._guard, chroma.chroma_errors(self._path):
            with self._reading() as collection:
                before = self._generations.size()
            if collection is None or self._manifest is None:
                return before, before
            # Outside the gate, so that others may read meanwhile; the lock keeps writers away.
            self.rebuild(self._manifest.facts, chroma.stored(collection))
            return before, self._generations.size()

    def status(self) -> IndexStatus:
        """What is stored, and whether it can be used."""
        try:
            with self._reading() as collection:
                count = collection.count() if collection else 0
            problem = None
        except StoreError as error:
            count, problem = 0, str(error)
        manifest, size = manifest_if_readable(self._path), self._generations.size()
        return IndexStatus.of(manifest, count=count, size=size, problem=problem)

    def close(self) -> None:
        """Close Chroma, if it was opened."""
        with self._guard:
            if self._client is not None:
                self._client.close()
            self._client = self._collection = self._manifest = None

    @contextmanager
    def _reading(self) -> Iterator["Collection | None"]:
        with self._guard, chroma.chroma_errors(self._path), self._gate.hold(alone=False):
            # Again: on the way back from being alone a writer may come in between.
            while read_manifest(self._path) != self._manifest:
                # Opening replays Chroma's log, which is a kind of writing.
                with self._gate.hold(alone=True):
                    self._open(read_manifest(self._path))
            yield self._collection

    @contextmanager
    def _writing(self, facts: IndexFacts) -> Iterator["Collection"]:
        with (
            self._lock(),
            self._guard,
            chroma.chroma_errors(self._path),
            self._gate.hold(alone=True),
        ):
            manifest = read_manifest(self._path)
            if manifest and (manifest.count or manifest.writing):
                check_facts(manifest.facts, facts, self._path)
                self._open(manifest)
            else:
                # Nothing was ever kept, or all was deleted: a new generation may differ in all.
                self.rebuild(facts, ())
                manifest = self._manifest
            collection = self._collection
            assert manifest is not None
            assert collection is not None
            self._save(replace(manifest, writing=True))
            yield collection
            count = collection.count()
            self._save(
                replace(
                    manifest,
                    revision=manifest.revision + 1,
                    count=count,
                    writing=False,
                    chroma=version("chromadb"),
                )
            )

    def _open(self, manifest: Manifest | None) -> None:
        """Have the collection of the manifest open, checked when it was not open before."""
        if manifest == self._manifest:
            return
        self.close()
        if manifest is None:
            return
        check_release(manifest)
        self._client, self._collection = self._connect(manifest)
        problem = collection_problem(self._collection, manifest)
        if problem:
            self.close()
            raise IndexMismatch(f"{problem}: {rebuild_hint(self._path)}")
        self._manifest = manifest

    def _connect(self, manifest: Manifest, *, fresh: bool = False) -> chroma.Opened:
        place = self._url or self._generations.folder(manifest.generation)
        return chroma.connect(place, f"items-{manifest.name}-g{manifest.generation}", fresh=fresh)

    def _save(self, manifest: Manifest) -> None:
        manifest.write(self._path)
        self._manifest = manifest

    def _remove_others(self, new: Manifest, old: Manifest | None) -> None:
        self._generations.remove_others(new.generation)
        if self._url and old and self._client is not None:
            chroma.drop(self._client, f"items-{old.name}-g{old.generation}")
