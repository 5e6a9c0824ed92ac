"""Vectors that do not fit what they are to be used for, or cannot be read any more."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from mllm_srec.store.errors import IndexMismatch, StoreError
from mllm_srec.store.manifest import FORMAT, IndexFacts
from mllm_srec.store.representations import RepresentationIndex
from tests.store.vectors import FACTS, again, drawn


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, model="other", model_hash="m2"),
        replace(FACTS, prompt_hash="p2"),
        replace(FACTS, preparation_hash="i2"),
        replace(FACTS, dimension=5),
    ],
)
def test_vectors_made_otherwise_are_refused_with_the_rebuild_command(
    index: RepresentationIndex, facts: IndexFacts
) -> None:
    index.put(["a"], drawn(1))
    other = again(index)
    with pytest.raises(IndexMismatch, match="srec index rebuild --home"):
        other.use(facts)
    with closing(other):
        assert other.rebuild(facts, [(["a", "b"], drawn(2, facts.dimension))]) == 2
        other.use(facts)
        assert other.facts == facts
        assert other.ids() == {"a", "b"}


def test_the_name_of_the_model_alone_may_change(index: RepresentationIndex) -> None:
    index.put(["a"], drawn(1))
    index.use(replace(FACTS, model="srec-tiny, renamed"))


def test_an_emptied_index_may_be_filled_otherwise(index: RepresentationIndex) -> None:
    index.put(["a"], drawn(1))
    index.delete(["a"])
    index.use(replace(FACTS, dimension=6))
    index.put(["a"], drawn(1, 6))
    assert index.vectors(["a"])["a"].shape == (6,)


def test_vectors_without_a_direction_or_of_another_shape_are_refused(
    index: RepresentationIndex,
) -> None:
    for wrong in (np.zeros((1, 4)), np.full((1, 4), np.nan), np.ones((1, 5)), np.ones((2, 4))):
        with pytest.raises(ValueError, match="vector"):
            index.put(["a"], wrong.astype(np.float32))
    assert index.count() == 0


def test_a_count_that_differs_from_the_manifest_is_noticed(index: RepresentationIndex) -> None:
    index.put(["a", "b"], drawn(2))
    path = index._folder / "manifest.json"
    path.write_text(path.read_text().replace('"count": 2', '"count": 3'))
    other = again(index)
    with pytest.raises(
        IndexMismatch, match=r"2 vectors are there, the manifest tells of 3.*rebuild"
    ):
        other.count()
    status = other.status()
    assert status.problem is not None
    assert status.expected == 3
    assert other.rebuild(FACTS, [(["a"], drawn(1))]) == 1
    assert again(other).count() == 1


@pytest.mark.parametrize("broken", ["", "{}", "[]", '{"format": 1, "facts": {}}'])
def test_a_broken_manifest_is_rebuilt(index: RepresentationIndex, broken: str) -> None:
    index.put(["a"], drawn(1))
    (index._folder / "manifest.json").write_text(broken)
    other = again(index)
    with pytest.raises(IndexMismatch, match="srec index rebuild"):
        other.use(FACTS)
    assert other.status().problem is not None
    other.rebuild(FACTS, [(["a", "b"], drawn(2))])
    assert again(other).count() == 2


def test_a_lost_or_damaged_chroma_folder_is_rebuilt(index: RepresentationIndex) -> None:
    index.put([str(number) for number in range(1_500)], drawn(1_500))
    (generation,) = index._folder.glob("g[0-9]*")
    index.close()
    for path in generation.rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged" * 100)
    other = again(index)
    with pytest.raises(StoreError, match="srec index rebuild"):
        other.use(FACTS)
    other.rebuild(FACTS, [(["a"], drawn(1))])
    assert again(other).ids() == {"a"}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (f'"format": {FORMAT}', f'"format": {FORMAT + 1}', "upgrade mllm-srec"),
        ('"chroma": "1.', '"chroma": "99.', "upgrade chromadb"),
    ],
)
def test_vectors_of_a_newer_version_are_refused(
    index: RepresentationIndex, old: str, new: str, reason: str
) -> None:
    index.put(["a"], drawn(1))
    path = index._folder / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(StoreError, match=reason):
        again(index).use(FACTS)
