"""An index that several processes use, or one that was killed."""

import fcntl
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mllm_srec.store.errors import HomeBusy
from mllm_srec.store.gate import Gate
from mllm_srec.store.home import Home
from mllm_srec.store.representations import RepresentationIndex
from tests.store.conftest import start
from tests.store.vectors import FACTS, drawn


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


def test_a_writer_that_comes_while_a_reader_opens_is_read(
    index: RepresentationIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_in(gate: Gate, mode: int) -> None:
        if gate._file is not None and (gate._mode, mode) == (fcntl.LOCK_EX, fcntl.LOCK_SH):
            # As the system does it: the lock is let go before the weaker one is taken.
            monkeypatch.undo()
            fcntl.flock(gate._file, fcntl.LOCK_UN)
            index.compact()
            index.put(["b"], drawn(1, seed=1))
        change(gate, mode)

    index.put(["a"], drawn(1))
    change = Gate._change
    with closing(RepresentationIndex(index._folder)) as reader:
        monkeypatch.setattr(Gate, "_change", let_in)
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
