import hashlib
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mllm_srec.store.errors import StoreError
from mllm_srec.store.spans import Attribute, Event, Span, pack, unpack
from mllm_srec.store.traces import TraceError, TraceStore

PROMPT = "Would the user like the item next? Profile: loves red; likes cotton. " * 6


def span(number: int, *, parent: int | None = 0, trace: str = "ab" * 16, **more: object) -> Span:
    values: dict[str, object] = {
        "trace_id": trace,
        "span_id": f"{number:016x}",
        "parent_id": None if parent is None else f"{parent:016x}",
        "name": "score_labels",
        "kind": "LLM",
        "start_ns": 1_000,
        "end_ns": 2_000,
        **more,
    }
    return Span(**values)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore.open(tmp_path / "traces.sqlite")


def size(store: TraceStore) -> int:
    """Bytes of the file once the log is folded in."""
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return store.path.stat().st_size


texts = st.text(max_size=400)
scalars = texts | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False)
attributes = st.dictionaries(texts, scalars | st.lists(texts, max_size=3).map(tuple), max_size=6)
events = st.lists(st.builds(Event, texts, st.integers(0, 2**60), attributes), max_size=2).map(tuple)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.builds(lambda own, happened: (own, happened), attributes, events), min_size=1, max_size=4
    ),
    st.dictionaries(texts, st.text(min_size=60, max_size=700), max_size=3),
)
def test_packed_spans_come_back_as_they_were(
    parts: list[tuple[dict[str, Attribute], tuple[Event, ...]]], shared: dict[str, str]
) -> None:
    batch = [
        span(number, attributes={**own, **shared}, events=happened)
        for number, (own, happened) in enumerate(parts)
    ]
    blobs: list[bytes] = []

    def put(content: bytes) -> int:
        blobs.append(content)
        return len(blobs) - 1

    assert [each for row in pack(batch, put) for each in unpack(row, blobs.__getitem__)] == batch


def test_calls_that_went_together_are_one_row_and_others_are_rows_of_their_own(
    store: TraceStore,
) -> None:
    together = [span(number, attributes={"prompt": f"{number}"}) for number in (1, 2, 3)]
    # Some were answered from the cache, and have other facts than the rest.
    together[1] = replace(together[1], attributes={"prompt": "2", "srec.stored": True})
    alone = [span(4, name="taste"), span(5, status="ERROR"), span(6, end_ns=3_000)]
    store.put_spans([*together, *alone])
    assert store.spans("ab") == [*together, *alone]
    assert store.rows("SELECT count(*) FROM spans") == [(4,)]


def test_a_row_of_calls_whose_bytes_are_gone_says_so(store: TraceStore) -> None:
    store.put_spans([span(1, attributes={"x": 1}), span(2, attributes={"x": 2})])
    store.rows("DELETE FROM blobs")
    [left] = store.spans("ab")
    assert left.attributes == {"[lost]": "[lost]"}


def test_spans_are_read_in_the_order_of_their_start_and_then_of_their_writing(
    store: TraceStore,
) -> None:
    written = [span(3), span(1), span(2, start_ns=500)]
    store.put_spans(written)
    assert store.spans("ab" * 16) == [written[2], written[0], written[1]]


def test_a_span_that_ends_replaces_the_one_that_started(store: TraceStore) -> None:
    store.put_spans([span(1, parent=None, end_ns=None)])
    assert store.recent()[0].seconds is None
    store.put_spans([span(1, parent=None, status="OK")])
    [root] = store.spans("ab" * 16)
    assert (root.status, root.seconds) == ("OK", 1e-6)


def test_a_hundred_scoring_prompts_with_one_beginning_stay_small(store: TraceStore) -> None:
    def scoring(number: int) -> Span:
        own = {
            "prompt": f"{PROMPT}{number}: stroller, red, striped, sporty",
            "logprob": -0.1 * number,
        }
        return span(number, attributes={"model": "srec-tiny", "settings": "x" * 200, **own})

    store.put_spans([scoring(number) for number in range(1, 101)])
    before = size(store)
    store.put_spans([scoring(number) for number in range(101, 201)])
    assert size(store) - before < 50 * 1024


def test_what_is_lost_says_so_in_its_place(store: TraceStore) -> None:
    store.put_spans([span(1, attributes={"prompt": "x" * 1_000})])
    connection = sqlite3.connect(store.path)
    connection.execute("DELETE FROM blobs")
    connection.commit()
    connection.close()
    assert store.spans("ab")[0].attributes["prompt"] == "[lost]"


def test_a_vector_comes_back_bit_for_bit(store: TraceStore) -> None:
    vector = tuple(number / 7 for number in range(256))
    store.put_spans(
        [span(1, attributes={"vector": vector}), span(2, attributes={"vector": (1.5,)})]
    )
    assert [each.attributes["vector"] for each in store.spans("ab")] == [vector, (1.5,)]
    assert "0.14285714285714285" not in str(store.rows("SELECT attributes FROM spans"))


def test_a_picture_is_kept_once(store: TraceStore) -> None:
    png = b"\x89PNG\r\n" + bytes(100)
    key = hashlib.sha256(png).hexdigest()
    for number in (1, 2):
        store.put_spans([span(number, attributes={"url": f"sha256:{key}"})], [png, png])
    assert store.blob(key) == png
    assert store.blob("00" * 32) is None
    assert store.rows("SELECT count(*) FROM blobs WHERE bytes = ?", png) == [(1,)]


def test_a_picture_and_the_spans_that_name_it_are_kept_together_or_not_at_all(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(batch: list[Span]) -> None:
        raise KeyboardInterrupt

    png = b"\x89PNG\r\n" + bytes(100)
    monkeypatch.setattr(store, "_put_together", killed)
    with pytest.raises(KeyboardInterrupt):
        store.put_spans([span(1)], [png])
    assert store.blob(hashlib.sha256(png).hexdigest()) is None


def test_the_newest_runs_come_first_and_only_their_roots(store: TraceStore) -> None:
    for number in range(5):
        trace = f"{number:032x}"
        root = span(2 * number, parent=None, trace=trace, start_ns=number)
        store.put_spans([root, span(2 * number + 1, parent=2 * number, trace=trace)])
    assert [int(root.trace_id, 16) for root in store.recent(3)] == [4, 3, 2]


@pytest.mark.parametrize("wanted", ["", "zz", "ab", "'; DROP TABLE spans", "AB" * 40])
def test_an_id_that_fits_no_single_trace_is_refused_with_the_way_out(
    store: TraceStore, wanted: str
) -> None:
    store.put_spans([span(1, trace="ab" + "00" * 15), span(2, trace="ab" + "11" * 15)])
    with pytest.raises(TraceError, match="srec trace list"):
        store.spans(wanted)


def test_a_beginning_that_fits_one_trace_is_enough(store: TraceStore) -> None:
    store.put_spans([span(1, trace="ab" + "00" * 15), span(2, trace="ab" + "11" * 15)])
    assert [each.span_id for each in store.spans("ab1")] == [f"{2:016x}"]


def test_the_file_is_readable_by_its_owner_alone(store: TraceStore) -> None:
    store.put_spans([span(1)])
    modes = {stat.S_IMODE(path.stat().st_mode) for path in store.path.parent.iterdir()}
    assert modes == {0o600}


def test_reading_where_nothing_was_written_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="run a recommendation first"):
        TraceStore.open(tmp_path / "traces.sqlite", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(TraceError, match="not a trace file of ours"):
        TraceStore.open(path)
    assert path.read_bytes() == before


def test_a_newer_version_is_refused_with_the_way_out(store: TraceStore) -> None:
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(TraceError, match=r"version 99 .* move the file away"):
        TraceStore.open(store.path)


def test_text_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "traces.sqlite"
    path.write_text("not a database, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"cannot use the traces.*move it away with its -wal"):
        TraceStore.open(path)


@pytest.mark.parametrize("version", [99, 1])
def test_a_file_that_is_refused_is_let_go(store: TraceStore, version: int) -> None:
    store.close()
    connection = sqlite3.connect(store.path)
    # Version 1 has no table of words yet: making it fails here.
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(TraceError) as refused:
        TraceStore.open(store.path)
    held = [file.path for file in psutil.Process().open_files()]
    assert str(store.path) not in held, refused


def test_a_failed_write_leaves_nothing_behind(store: TraceStore) -> None:
    bad = span(2, attributes={"x": object()})
    with pytest.raises(TypeError):
        store.put_spans([span(1, attributes={"prompt": "p" * 500}), bad])
    store.put_spans([span(3, attributes={"prompt": "p" * 500})])
    assert [each.attributes["prompt"] for each in store.spans("ab")] == ["p" * 500]


def test_a_reader_sees_a_run_while_it_is_written(store: TraceStore) -> None:
    store.put_spans([span(1, parent=None, end_ns=None)])
    with TraceStore.open(store.path, create=False) as reader:
        assert len(reader.spans("ab")) == 1
        store.put_spans([span(2)])
        assert len(reader.spans("ab")) == 2


WRITER = """
import sys
from pathlib import Path
from mllm_srec.store.spans import Span
from mllm_srec.store.traces import TraceStore

path, worker, prompt = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with TraceStore.open(path) as store:
    for number in range(50):
        span = Span(
            trace_id="ab" * 16, span_id=f"{worker * 1000 + number:016x}", parent_id="0" * 16,
            name="score_labels", kind="LLM", start_ns=1000, end_ns=2000,
            attributes={"prompt": prompt},
        )
        store.put_spans([span])
"""


def test_processes_that_open_and_write_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "traces.sqlite"
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(worker), PROMPT])
        for worker in range(1, 4)
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    with TraceStore.open(path) as store:
        assert len(store.spans("ab")) == 150


def test_a_torn_tail_costs_what_was_written_last_and_nothing_before(store: TraceStore) -> None:
    """A log cut at any byte, as by a power cut, reads as if the last writes had not been made."""
    for number in range(1, 9):
        store.put_spans([span(number, attributes={"prompt": f"{number} {PROMPT}"})])
    log = store.path.with_name(f"{store.path.name}-wal")
    database, whole = store.path.read_bytes(), log.read_bytes()
    store.close()
    # Where a write ends whole: what comes after the cut was never begun.
    frame, ends = 24 + 4_096, {0, 32, len(whole)}
    ends |= {at + frame for at in range(32, len(whole), frame) if any(whole[at + 4 : at + 8])}
    kept = set()
    for cut in (*range(0, len(whole), 1_709), *sorted(ends)):
        torn = store.path.with_name("torn.sqlite")
        torn.write_bytes(database)
        torn.with_name(f"{torn.name}-wal").write_bytes(whole[:cut])
        try:
            with TraceStore.open(torn) as reader:
                found = reader.select("ORDER BY id")
                # Of a header alone nothing can be told.
                assert reader.is_torn is (cut not in ends and cut > 32), cut
        finally:
            for path in torn.parent.glob("torn.sqlite*"):
                path.unlink()
        assert [each.span_id for each in found] == [f"{n:016x}" for n in range(1, len(found) + 1)]
        assert all("[lost]" not in str(each.attributes) for each in found)
        kept.add(len(found))
    assert max(kept) == 8
    assert len(kept) > 4


def test_a_file_that_another_process_holds_is_not_to_be_moved(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mllm_srec.store.traces.BUSY_S", 0.01)
    with (
        TraceStore.open(store.path) as other,
        store.writing(),
        pytest.raises(TraceError, match=r"locked.: try again when no other process holds it"),
    ):
        other.put_spans([span(1)])


def test_who_waited_in_vain_for_another_process_waits_no_more_until_it_is_done(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mllm_srec.store.traces.BUSY_S", 0.2)
    with TraceStore.open(store.path) as other:
        with store.writing():
            started = time.monotonic()
            for number in range(1, 31):
                with pytest.raises(TraceError, match="locked"):
                    other.put_spans([span(number)])
            assert time.monotonic() - started < 3.0
        other.put_spans([span(31)])
        assert other.rows("PRAGMA busy_timeout") == [(200,)]
