import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mllm_srec.store.errors import StoreError
from mllm_srec.store.representations import RepresentationIndex
from tests.store.vectors import FACTS, Vectors, again, drawn, unit

ids = st.sampled_from([*"abcdefgh", "é", "a b"])
vectors = st.lists(
    st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4).filter(
        lambda row: sum(x * x for x in row) > 0.01
    ),
    min_size=1,
    max_size=5,
)


class TheIndexIsAsGoodAsADict(RuleBasedStateMachine):
    """Does the same to an index and to a plain dict, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.index = RepresentationIndex(Path(self.folder.name))
        self.index.use(FACTS)
        self.kept: dict[str, Vectors] = {}

    @rule(rows=vectors, data=st.data())
    def put(self, rows: list[list[float]], data: st.DataObject) -> None:
        names = data.draw(st.lists(ids, min_size=len(rows), max_size=len(rows)))
        made = unit(*rows)
        self.index.put(names, made)
        self.kept |= dict(zip(names, made, strict=True))

    @rule(names=st.lists(ids, max_size=3))
    def delete(self, names: list[str]) -> None:
        self.index.delete(names)
        self.kept = {name: row for name, row in self.kept.items() if name not in names}

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def open_again(self) -> None:
        self.index.close()
        self.index = RepresentationIndex(Path(self.folder.name))
        self.index.use(FACTS)

    @rule(rows=vectors, k=st.integers(1, 12), allowed=st.none() | st.sets(ids))
    def ask(self, rows: list[list[float]], k: int, allowed: set[str] | None) -> None:
        (vector,) = unit(rows[0])
        found = self.index.nearest(vector, k, allowed)
        true = {
            name: 1 - float(row @ vector)
            for name, row in self.kept.items()
            if allowed is None or name in allowed
        }
        assert len(found) == min(k, len(true))
        nearest = sorted(true.values())[:k]
        assert np.allclose([distance for _, distance in found], nearest, atol=1e-5)
        assert all(abs(true[name] - distance) < 1e-5 for name, distance in found)

    @invariant()
    def holds_the_same(self) -> None:
        assert self.index.count() == len(self.kept)
        assert self.index.ids() == set(self.kept)
        stored = self.index.vectors([*self.kept, "nobody"])
        assert stored.keys() == self.kept.keys()
        assert all(np.allclose(stored[name], row, atol=1e-6) for name, row in self.kept.items())

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()


TheIndexIsAsGoodAsADict.TestCase.settings = settings(max_examples=8, stateful_step_count=8)
TestIndex = TheIndexIsAsGoodAsADict.TestCase


def test_an_index_that_was_never_filled_is_empty(index: RepresentationIndex) -> None:
    assert index.count() == 0
    assert index.nearest(drawn(1)[0], 5) == index.nearest(drawn(1)[0], 5, ["a"]) == []
    assert index.facts is None
    before, after = index.compact()
    assert before == after
    index.delete(["a"])
    status = index.status()
    assert (status.facts, status.count, status.problem) == (None, 0, None)


def test_items_with_one_description_come_in_the_order_of_their_ids(
    index: RepresentationIndex,
) -> None:
    same = np.repeat(drawn(1), 20, axis=0)
    index.put([f"{number:02}" for number in reversed(range(20))], same)
    assert [name for name, _ in index.nearest(same[0], 5)] == ["00", "01", "02", "03", "04"]


def test_many_allowed_items_are_found_as_few_are(tmp_path: Path) -> None:
    with closing(RepresentationIndex(tmp_path)) as index:
        index.use(replace(FACTS, dimension=16))
        rows = drawn(4_000, 16)
        names = [str(number) for number in range(4_000)]
        index.put(names, rows)
        for allowed in (
            names[:2_500],
            names[1_999:],
            [*names[:50], *map(str, range(9_000, 12_000))],
        ):
            known = [int(name) for name in allowed if name in set(names)]
            order = sorted(known, key=lambda number: -float(rows[number] @ rows[7]))
            found = index.nearest(rows[7], 20, allowed)
            assert [int(name) for name, _ in found] == order[:20]


def test_a_rebuild_that_breaks_off_leaves_the_old_index(index: RepresentationIndex) -> None:
    index.put(["a"], drawn(1))

    def batches() -> Iterator[tuple[list[str], Vectors]]:
        yield ["b"], drawn(1)
        raise RuntimeError("the engine was lost")

    with pytest.raises(RuntimeError):
        index.rebuild(FACTS, batches())
    assert [path.name for path in index._folder.glob("g[0-9]*")] == ["g1"]
    other = again(index)
    other.use(FACTS)
    assert other.ids() == {"a"}
    other.rebuild(FACTS, [(["c"], drawn(1))])
    assert [path.name for path in other._folder.glob("g[0-9]*")] == ["g2"]


def test_compacting_keeps_the_vectors_and_gives_disk_back(index: RepresentationIndex) -> None:
    rows = drawn(2_000)
    names = [str(number) for number in range(2_000)]
    for _ in range(2):
        index.put(names, rows)
    index.delete(names[100:])
    before, after = index.compact()
    assert after < before / 2
    assert index.ids() == set(names[:100])
    assert np.allclose(index.vectors(["7"])["7"], rows[7])


def test_nothing_is_sent_anywhere(
    index: RepresentationIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was tried: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    index.put(["a"], drawn(1))
    assert index.nearest(drawn(1)[0], 1)[0][0] == "a"
    assert index.compact()[1] > 0
    assert json.loads((index._folder / "manifest.json").read_text())["distance"] == "cosine"


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with closing(RepresentationIndex(tmp_path, chroma_url="http://127.0.0.1:9")) as index:
        index.use(FACTS)
        with pytest.raises(StoreError, match=r"no Chroma server answers at 127\.0\.0\.1:9"):
            index.put(["a"], drawn(1))
