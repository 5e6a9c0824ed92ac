import json
import signal
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
from numpy.typing import NDArray

from mllm_srec.store.errors import HomeBusy, IndexMismatch, StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.manifest import FORMAT, IndexFacts
from mllm_srec.store.representations import RepresentationIndex
from tests.store.conftest import start

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


@pytest.fixture
def index(tmp_path: Path) -> Iterator[RepresentationIndex]:
    (tmp_path / "vectors").mkdir()
    with closing(RepresentationIndex(tmp_path / "vectors")) as opened:
        opened.use(FACTS)
        yield opened


def again(index: RepresentationIndex) -> RepresentationIndex:
    """The same index as another process finds it."""
    index.close()
    return RepresentationIndex(index._folder)


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


TheIndexIsAsGoodAsADict.TestCase.settings = settings(
    max_examples=8, stateful_step_count=8, deadline=None
)
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


def test_a_rebuild_that_breaks_off_leaves_the_old_index(index: RepresentationIndex) -> None:
    index.put(["a"], drawn(1))

    def batches() -> Iterator[tuple[list[str], Vectors]]:
        yield ["b"], drawn(1)
        raise RuntimeError("the engine was lost")

    with pytest.raises(RuntimeError):
        index.rebuild(FACTS, batches())
    other = again(index)
    other.use(FACTS)
    assert other.ids() == {"a"}
    other.rebuild(FACTS, [(["c"], drawn(1))])
    assert [path.name for path in other._folder.glob("g[0-9]*")] == ["g3"]


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


def test_the_index_of_a_home_is_written_under_its_lock(home: Home) -> None:
    home.representations.use(FACTS)
    with Home.open(home.path) as other, other.lock(), pytest.raises(HomeBusy):
        home.representations.put(["a"], drawn(1))
    home.representations.put(["a"], drawn(1))
    with Home.open(home.path) as other:
        assert other.representations.ids() == {"a"}
    assert (home.path / "vectors").stat().st_mode & 0o777 == 0o700


def test_a_reader_notices_what_another_process_wrote(index: RepresentationIndex) -> None:
    index.put(["a"], drawn(1))
    with closing(RepresentationIndex(index._folder)) as reader:
        assert reader.ids() == {"a"}
        index.put(["b"], drawn(1, seed=1))
        assert {name for name, _ in reader.nearest(drawn(1)[0], 9)} == {"a", "b"}
        index.compact()
        assert reader.ids() == {"a", "b"}


WRITE = """
import os, signal, sys
from pathlib import Path
import numpy as np
from mllm_srec.store.manifest import IndexFacts
from mllm_srec.store.representations import RepresentationIndex

index = RepresentationIndex(Path(sys.argv[1]))
index.use(IndexFacts("srec-tiny", "m1", "p1", "i1", int(sys.argv[2])))
rows = np.random.default_rng(0).normal(size=(int(sys.argv[3]), int(sys.argv[2]))).astype("f4")
print("ready", flush=True)
for first in range(0, len(rows), int(sys.argv[4])):
    part = rows[first : first + int(sys.argv[4])]
    index.put([str(first + number) for number in range(len(part))], part)
    print(first, flush=True)
"""


def test_a_writer_killed_in_the_middle_is_completed_by_the_next(tmp_path: Path) -> None:
    with start(WRITE, tmp_path, 4, 100_000, 200) as writer:
        assert writer.stdout is not None
        for _ in range(6):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    with closing(RepresentationIndex(tmp_path)) as index:
        index.use(FACTS)
        kept = index.ids()
        assert len(kept) >= 1_000
        assert index.count() == len(kept)
        missing = [str(number) for number in range(3_000) if str(number) not in kept]
        index.put(missing, drawn(len(missing)))
        assert not index.status().interrupted
    with closing(RepresentationIndex(tmp_path)) as index:
        index.use(FACTS)
        assert index.count() == max(3_000, len(kept))


@pytest.mark.parametrize("allowed", [0, 50_000, 300_000])
def test_a_full_disk_is_said_and_the_next_write_completes(tmp_path: Path, allowed: int) -> None:
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({allowed}, {allowed}))\n"
    with start(limit + WRITE, tmp_path, 64, 3_000, 500) as writer:
        _, errors = writer.communicate(timeout=120)
    assert writer.returncode == 1
    assert errors.splitlines()[-1].startswith("mllm_srec.store.errors.StoreError: the disk is full")
    with closing(RepresentationIndex(tmp_path)) as index:
        index.use(replace(FACTS, dimension=64))
        assert index.status().problem is None
        index.put([str(number) for number in range(3_000)], drawn(3_000, 64))
        assert index.count() == 3_000


def test_readers_go_on_while_another_process_writes(tmp_path: Path) -> None:
    with start(WRITE, tmp_path, 4, 1_500, 100) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdout.readline()
        with closing(RepresentationIndex(tmp_path)) as reader:
            rounds = 0
            while writer.poll() is None:
                assert len(reader.nearest(drawn(1)[0], 10)) == 10
                rounds += 1
            assert rounds > 5
        assert writer.stderr is not None
        assert (writer.wait(), writer.stderr.read()) == (0, "")
    with closing(RepresentationIndex(tmp_path)) as index:
        index.use(FACTS)
        assert index.count() == 1_500
        rows = np.random.default_rng(0).normal(size=(1_500, 4)).astype(np.float32)
        for number in range(0, 1_500, 100):
            assert index.nearest(rows[number], 1)[0][0] == str(number)


@pytest.mark.slow
def test_five_thousand_vectors_are_there_after_a_restart(tmp_path: Path) -> None:
    with start(WRITE, tmp_path, 256, 5_000, 500) as writer:
        _, errors = writer.communicate(timeout=250)
        assert (writer.returncode, errors) == (0, "")
    rows = np.random.default_rng(0).normal(size=(5_000, 256)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with closing(RepresentationIndex(tmp_path)) as index:
        index.use(replace(FACTS, dimension=256))
        assert index.count() == 5_000
        for number in range(0, 5_000, 250):
            true = np.argsort(-(rows @ rows[number]), kind="stable")[:50]
            found = [int(name) for name, _ in index.nearest(rows[number], 50)]
            assert len(set(found) & set(true.tolist())) >= 49


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
