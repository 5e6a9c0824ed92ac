import hashlib
import random
import sqlite3
from pathlib import Path

import pytest

from mllm_srec.store.home import Home
from mllm_srec.store.spans import COLUMNS, Span, pack
from mllm_srec.store.trace_notes import annotate
from mllm_srec.store.trace_retention import (
    DAY_NS,
    MIB,
    Retention,
    compact,
    delete,
    expired,
    scrub,
    used_bytes,
)
from mllm_srec.store.trace_schema import _SPANS, SCHEMA
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.traces import TraceStore

SHARED = "A beginning that every prompt has in common, long enough for a blob. " * 8


def noise(seed: int, size: int) -> str:
    """Text that no compression makes smaller by much."""
    return random.Random(seed).randbytes(size // 2).hex()


def put_run(store: TraceStore, number: int, *, user: str = "mia", size: int = 0) -> str:
    """Write a run whose prompts and picture are partly its own."""
    trace, start = f"{number:032x}", number * DAY_NS
    pictures = [f"picture of {user} {number}".encode(), b"a picture that all share"]
    own, both = (hashlib.sha256(picture).hexdigest() for picture in pictures)

    def span(at: int, **values: object) -> Span:
        given = {
            "trace_id": trace,
            "span_id": f"{number:08x}{at:08x}",
            "parent_id": f"{number:08x}{0:08x}",
            "start_ns": start + at,
            "end_ns": start + 10**9,
            "name": "generate",
            "kind": "LLM",
            **values,
        }
        return Span(**given)  # type: ignore[arg-type]

    calls = [
        span(
            at,
            attributes={
                "prompt": f"{SHARED} {user} wants toy{number} {at} {noise(number, size)}",
                "image": f"sha256:{own if at == 1 else both}",
            },
        )
        for at in (1, 2)
    ]
    store.put_spans(calls, pictures)
    store.put_spans(
        [span(0, parent_id=None, name="recommend", kind="AGENT", attributes={"user.id": user})]
    )
    return trace


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore.open(tmp_path / "traces.sqlite")


def content(store: TraceStore) -> bytes:
    """Every byte of the file and of its log, and blobs and spans as before they were packed."""
    spans = repr(store.select("")).encode()
    files = (path.read_bytes() for path in store.path.parent.glob("traces.sqlite*"))
    blobs = (bytes(key) for (key,) in store.rows("SELECT sha256 FROM blobs"))
    return b"".join([spans, *files, *(store.blob(key.hex()) or b"" for key in blobs)])


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(), [1, 2, 3, 4]),
        (Retention(days=1.5), [3, 4]),
        (Retention(count=1), [4]),
        (Retention(count=9), [1, 2, 3, 4]),
        (Retention(days=1.5, count=3), [3, 4]),
        (Retention(count=0), []),
        (Retention(mib=1_000), [1, 2, 3, 4]),
        (Retention(mib=0), []),
    ],
)
def test_what_is_beyond_a_limit_goes_the_oldest_first(
    store: TraceStore, retention: Retention, left: list[int]
) -> None:
    for number in (1, 2, 3, 4):
        put_run(store, number)
    delete(store, expired(store, retention, now_ns=4 * DAY_NS))
    assert sorted(int(root.trace_id, 16) for root in find(store, TraceFilter())) == left


def test_a_limit_by_size_is_reached(store: TraceStore) -> None:
    for number in range(20):
        put_run(store, number, size=50_000)
    size = used_bytes(store)
    delete(store, expired(store, Retention(mib=size / MIB / 2), now_ns=0))
    assert used_bytes(store) < 0.6 * size
    assert 8 <= len(find(store, TraceFilter())) <= 12


@pytest.mark.parametrize("name", ["days", "count", "mib"])
def test_a_negative_limit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"retention {name} -1"):
        Retention(**{name: -1})


def test_a_deleted_trace_takes_along_what_it_alone_needed(store: TraceStore) -> None:
    gone, stays = put_run(store, 1), put_run(store, 2)
    annotate(store, gone, "bad")
    delete(store, [bytes.fromhex(gone)])
    [root] = find(store, TraceFilter())
    assert root.trace_id == stays
    assert find(store, TraceFilter(words="toy1")) == []
    assert find(store, TraceFilter(verdict="bad")) == []
    own = hashlib.sha256(b"picture of mia 1").hexdigest()
    shared = hashlib.sha256(b"a picture that all share").hexdigest()
    assert store.blob(own) is None
    assert store.blob(shared) == b"a picture that all share"
    assert [s.attributes["prompt"] for s in store.spans(stays) if s.kind == "LLM"] == [
        f"{SHARED} mia wants toy2 {at} " for at in (1, 2)
    ]


def test_what_was_deleted_elsewhere_is_written_again(store: TraceStore) -> None:
    """A writer must not refer to a blob that another process has deleted meanwhile."""
    gone = put_run(store, 1)
    with TraceStore.open(store.path) as other:
        delete(other, [bytes.fromhex(gone)])
        compact(other)
    again = put_run(store, 1)
    assert all("[lost]" not in str(s.attributes) for s in store.spans(again))
    assert store.blob(hashlib.sha256(b"a picture that all share").hexdigest())


def test_after_scrub_no_byte_of_the_user_is_left(store: TraceStore) -> None:
    put_run(store, 1, user="wilhelmina")
    put_run(store, 2, user="wilhelmina")
    stays = put_run(store, 3, user="ben")
    assert b"wilhelmina" in content(store)
    assert scrub(store, "wilhelmina") == 2
    assert b"wilhelmina" not in content(store)
    [root] = find(store, TraceFilter())
    assert root.trace_id == stays
    assert scrub(store, "wilhelmina") == 0


def test_deleting_a_user_of_a_home_deletes_the_traces_too(tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", create=True) as home:
        home.delete_user("wilhelmina")  # where nothing was traced yet
        with TraceStore.open(home.traces_file) as traces:
            put_run(traces, 1, user="wilhelmina")
            put_run(traces, 2, user="ben")
            home.delete_user("wilhelmina")
            assert [root.attributes["user.id"] for root in find(traces, TraceFilter())] == ["ben"]
            assert b"wilhelmina" not in content(traces)


def test_a_run_that_is_deleted_while_it_is_under_way_stays_deleted(store: TraceStore) -> None:
    trace = "ab" * 16

    def span(number: int, *, end_ns: int | None) -> Span:
        return Span(
            trace_id=trace,
            span_id=f"{number:016x}",
            parent_id=None if number == 1 else f"{1:016x}",
            name="recommend",
            kind="AGENT" if number == 1 else "CHAIN",
            start_ns=number,
            end_ns=end_ns,
            attributes={"user.id": "wilhelmina"},
        )

    store.put_spans([span(1, end_ns=None)])
    store.put_spans([span(2, end_ns=2)])
    with TraceStore.open(store.path) as other:
        assert scrub(other, "wilhelmina") == 1
    store.put_spans([span(3, end_ns=3)])
    store.put_spans([span(1, end_ns=4)])
    assert store.rows("SELECT name FROM spans") == []
    assert b"wilhelmina" not in content(store)


def test_compact_gives_disk_back(store: TraceStore) -> None:
    for number in range(8):
        put_run(store, number, size=100_000)
    insert = "INSERT INTO blobs (sha256, bytes, packed) VALUES ('', ?, 0)"
    store.rows(insert, random.Random(0).randbytes(10_000))
    delete(store, expired(store, Retention(count=1), now_ns=0))
    before, after = compact(store)
    assert after < before / 2
    assert len(find(store, TraceFilter(words="toy7"))) == 1


def test_a_file_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "traces.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(_SPANS)
    blobs: list[bytes] = []

    def put(content: bytes) -> int:
        blobs.append(content)
        connection.execute(
            "INSERT INTO blobs VALUES (?, ?, ?)",
            (len(blobs), hashlib.sha256(content).digest(), content),
        )
        return len(blobs)

    root = Span(
        span_id="01" * 8,
        parent_id=None,
        name="recommend",
        kind="AGENT",
        attributes={"user.id": "mia"},
        trace_id="ab" * 16,
        start_ns=1,
        end_ns=2,
    )
    call = Span(
        span_id="02" * 8,
        parent_id="01" * 8,
        name="generate",
        kind="LLM",
        attributes={"prompt": SHARED},
        trace_id="ab" * 16,
        start_ns=1,
        end_ns=2,
    )
    marks = ", ".join("?" * len(COLUMNS))
    connection.executemany(
        f"INSERT INTO spans ({', '.join(COLUMNS)}) VALUES ({marks})", pack([root, call], put)
    )
    connection.execute(f"PRAGMA application_id = {0x53524543}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    with TraceStore.open(path) as store:
        assert store.spans("ab") == [root, call]
        assert [r.trace_id for r in find(store, TraceFilter(user="mia", words="beginning"))]
        compact(store)
        assert store.spans("ab") == [root, call]
        assert store.rows("PRAGMA user_version") == [(SCHEMA,)]


def test_a_file_of_the_second_version_is_read_as_it_is(tmp_path: Path) -> None:
    """Until then each call had a row of its own, with its line in the table of its batch."""
    path = tmp_path / "traces.sqlite"
    with TraceStore.open(path) as store:
        [(number,)] = store.rows(
            "INSERT INTO blobs (sha256, bytes, packed) VALUES ('', ?, 0) RETURNING id",
            b'[["prompt"],[["a kite"],["a drum"]],{"model":"tiny"}]',
        )
        marks = ", ".join("?" * len(COLUMNS))
        for line in (0, 1):
            store.rows(
                f"INSERT INTO spans ({', '.join(COLUMNS)}) VALUES ({marks})",
                *(b"\xab" * 16, bytes(7) + bytes([line + 1]), bytes(8), "score_labels", "LLM"),
                *(1, 2, "OK", "", str(line), number, "[]"),
            )
        store.rows("PRAGMA user_version = 2")
    with TraceStore.open(path) as store:
        assert [dict(span.attributes) for span in store.spans("ab")] == [
            {"model": "tiny", "prompt": "a kite"},
            {"model": "tiny", "prompt": "a drum"},
        ]
        assert store.rows("PRAGMA user_version") == [(SCHEMA,)]
