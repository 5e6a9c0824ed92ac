import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.store.spans import Event, Span
from mllm_srec.store.trace_notes import annotate, annotations
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.trace_settings import (
    TraceSettings,
    changed_settings,
    pseudonym,
    read_settings,
    write_settings,
)
from mllm_srec.store.trace_words import match_expression, split
from mllm_srec.store.traces import TraceError, TraceStore


def put_run(store: TraceStore, number: int, **more: object) -> str:
    """Write a run of one node and one call; returns its id."""
    given: dict[str, object] = {
        "user": f"u{number}",
        "engine": "vllm",
        "model": "srec-tiny",
        "score": number / 10,
        "seconds": number,
        "node": "explain",
        "status": "OK",
        "prompt": "Why would Mia like the kite?",
        **more,
    }
    trace, start = f"{number:032x}", number * 10**12
    root = {
        "user.id": given["user"],
        "srec.engine": given["engine"],
        "llm.model_name": given["model"],
        "srec.score": given["score"],
    }

    def span(at: int, name: object, kind: str, **own: object) -> Span:
        values = {
            "trace_id": trace,
            "span_id": f"{number:08x}{at:08x}",
            "parent_id": None if at == 0 else f"{number:08x}{at - 1:08x}",
            "start_ns": start + at,
            "end_ns": start + int(float(str(given["seconds"])) * 1e9),
            "status": "OK",
            **own,
        }
        return Span(name=str(name), kind=kind, **values)  # type: ignore[arg-type]

    store.put_spans([span(0, "recommend", "AGENT", attributes=root, end_ns=None)])
    store.put_spans([span(1, given["node"], "CHAIN", status=given["status"])])
    store.put_spans([span(2, "generate", "LLM", attributes={"prompt": given["prompt"]})])
    store.put_spans([span(0, "recommend", "AGENT", attributes=root)])
    return trace


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore.open(tmp_path / "traces.sqlite")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (TraceFilter(), [4, 3, 2, 1]),
        (TraceFilter(user="u2"), [2]),
        (TraceFilter(user="u'; DROP TABLE spans"), []),
        (TraceFilter(engine="transformers"), [3]),
        (TraceFilter(model="smol"), [4]),
        (TraceFilter(node="explain"), [4, 3, 1]),
        (TraceFilter(node="generate"), []),
        (TraceFilter(failed=True), [1]),
        (TraceFilter(least_seconds=3), [4, 3]),
        (TraceFilter(most_seconds=1), [1]),
        (TraceFilter(least_score=0.3), [4, 3]),
        (TraceFilter(most_score=0.2, least_score=0.2), [2]),
        (TraceFilter(since_ns=2 * 10**12, until_ns=4 * 10**12), [3, 2]),
        (TraceFilter(words="kite"), [4, 3, 1]),
        (TraceFilter(words="DRUM mia"), [2]),
        (TraceFilter(words="dru"), [2]),
        (TraceFilter(words="mia dru"), [2]),
        (TraceFilter(words="dru mia"), []),
        (TraceFilter(words="drum kite"), []),
        (TraceFilter(words="kite", node="explain", least_seconds=2), [4, 3]),
    ],
)
def test_runs_are_found_by_what_they_were(
    store: TraceStore, wanted: TraceFilter, found: list[int]
) -> None:
    put_run(store, 1, status="ERROR")
    put_run(store, 2, node="load_user", prompt="Why would Mia like the drum?")
    put_run(store, 3, engine="transformers")
    put_run(store, 4, model="smol")
    assert [int(root.trace_id, 16) for root in find(store, wanted)] == found


@pytest.mark.parametrize("words", ["12.99", "???", "x" * 41, " 1.5 !"])
def test_words_of_which_none_is_left_are_refused(store: TraceStore, words: str) -> None:
    put_run(store, 1)
    with pytest.raises(TraceError, match="no word to look for"):
        find(store, TraceFilter(words=words))
    assert len(find(store, TraceFilter(words="  "))) == 1


def test_a_list_stops_at_its_limit(store: TraceStore) -> None:
    for number in (1, 2, 3):
        put_run(store, number)
    assert [int(root.trace_id, 16) for root in find(store, TraceFilter(), 2)] == [3, 2]
    assert len(find(store, TraceFilter(), 10**30)) == 3


def test_a_run_that_has_not_ended_is_listed_but_has_no_words_yet(store: TraceStore) -> None:
    root = Span(
        trace_id="ab" * 16,
        span_id="01" * 8,
        parent_id=None,
        name="recommend",
        kind="AGENT",
        start_ns=1,
        end_ns=None,
    )
    store.put_spans([root])
    assert len(find(store, TraceFilter())) == 1
    assert find(store, TraceFilter(words="recommend")) == []


def spans_of_a_run() -> list[Span]:
    """A run as it is written: it starts, asks, and ends."""

    def made(number: int, parent: int | None, end_ns: int | None, **attributes: str) -> Span:
        return Span(
            trace_id="cd" * 16,
            span_id=f"{number:016x}",
            parent_id=None if parent is None else f"{parent:016x}",
            name="recommend" if parent is None else "generate",
            kind="AGENT" if parent is None else "LLM",
            start_ns=number,
            end_ns=end_ns,
            attributes=attributes,
        )

    return [
        made(1, None, None, question="a kite"),
        made(2, 1, 5, prompt="the red\nkite"),
        made(3, 1, 6, prompt="the blue\nkite"),
        made(1, None, 9, question="a kite", said="flies"),
    ]


def words(store: TraceStore) -> list[tuple[object, ...]]:
    return store.rows("SELECT text FROM words")


def test_a_run_written_step_by_step_has_the_words_that_reading_it_back_gives(
    tmp_path: Path,
) -> None:
    first, red, blue, last = spans_of_a_run()
    with (
        TraceStore.open(tmp_path / "steps.sqlite") as steps,
        TraceStore.open(tmp_path / "two.sqlite") as one,
        TraceStore.open(tmp_path / "two.sqlite") as other,
    ):
        for batch in ([first], [red, blue], [last]):
            steps.put_spans(batch)
        one.put_spans([first, red])
        other.put_spans([blue, last])  # of a run whose start it did not see
        assert words(steps) == words(other) == [("a blue flies generate kite recommend red the",)]


def test_words_that_could_not_be_written_are_not_found(store: TraceStore) -> None:
    first, red, blue, last = spans_of_a_run()
    store.put_spans([first, red])
    with pytest.raises(TypeError):
        store.put_spans([blue, replace(red, span_id="ff" * 8, attributes={"x": object()})])  # type: ignore[dict-item]
    store.put_spans([last])
    assert words(store) == [("a flies generate kite recommend red the",)]


def test_words_are_found_in_events_and_errors_too(store: TraceStore) -> None:
    dropped = Event("dropped", 1, {"reason": "disliked brand"})
    store.put_spans(
        [
            Span(
                span_id="02" * 8,
                parent_id="01" * 8,
                name="n",
                kind="CHAIN",
                events=(dropped,),
                trace_id="ab" * 16,
                start_ns=1,
                end_ns=2,
            ),
            Span(
                span_id="01" * 8,
                parent_id=None,
                name="r",
                kind="AGENT",
                message="EngineLost: gone",
                trace_id="ab" * 16,
                start_ns=1,
                end_ns=2,
            ),
        ]
    )
    assert find(store, TraceFilter(words="disliked enginelost"))


@given(st.text(max_size=60), st.text(max_size=30))
def test_what_a_person_types_is_never_syntax(text: str, wanted: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5"
        "(text, detail = none, tokenize = 'unicode61 remove_diacritics 2')"
    )
    connection.execute("INSERT INTO words VALUES (?)", (" ".join(split(text)),))
    for query in (match_expression(text), match_expression(wanted)):
        if query:
            connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (query,)).fetchall()
    connection.close()


def test_annotations_are_kept_in_order_and_filtered_by(store: TraceStore) -> None:
    first, second = put_run(store, 1), put_run(store, 2)
    annotate(store, first, "note", "the kite was sold out")
    annotate(store, first[:32], "bad", kind="rule")
    assert [(a.verdict, a.note, a.kind) for a in annotations(store, first)] == [
        ("note", "the kite was sold out", "person"),
        ("bad", "", "rule"),
    ]
    assert annotations(store, second) == []
    [root] = find(store, TraceFilter(verdict="bad"))
    assert root.trace_id == first


@pytest.mark.parametrize(
    ("trace", "verdict", "note", "complaint"),
    [
        ("ff", "good", "", "there is no trace 'ff'"),
        ("00", "fine", "", "'fine' is none of good, bad, note"),
        ("00", "note", "  ", "a note needs words"),
    ],
)
def test_an_annotation_that_says_nothing_is_refused(
    store: TraceStore, trace: str, verdict: str, note: str, complaint: str
) -> None:
    put_run(store, 1)
    with pytest.raises(TraceError, match=complaint):
        annotate(store, trace, verdict, note)  # type: ignore[arg-type]


def test_settings_are_kept_in_the_file(store: TraceStore) -> None:
    assert read_settings(store) == TraceSettings()
    wanted = TraceSettings(
        redact=frozenset({"text", "users"}), days=30, otlp_endpoint="http://h/v1"
    )
    write_settings(store, wanted)
    with TraceStore.open(store.path, create=False) as other:
        assert read_settings(other) == wanted


@pytest.mark.parametrize("name", ["days", "count", "mib"])
def test_a_limit_below_zero_is_refused_and_told_where_it_stands(
    store: TraceStore, name: str
) -> None:
    with pytest.raises(ValueError, match=name):
        TraceSettings.model_validate({name: -1})
    store.rows("INSERT INTO settings VALUES ('settings', ?)", json.dumps({name: -1}))
    with pytest.raises(TraceError) as told:
        read_settings(store)
    assert str(store.path) in str(told.value)
    assert f"srec trace settings --{name} none" in str(told.value)
    write_settings(store, changed_settings(store, {name: None}))
    assert read_settings(store) == TraceSettings()


def test_settings_of_a_newer_version_are_told(store: TraceStore) -> None:
    store.rows("INSERT INTO settings VALUES ('settings', ?)", '{"colour": 1}')
    with pytest.raises(TraceError, match="use the version of mllm-srec that wrote it"):
        read_settings(store)


@pytest.mark.parametrize("address", ["file:///etc", "http://", "https://me:secret@host/v1/traces"])
def test_an_address_that_is_no_plain_one_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="otlp_endpoint"):
        TraceSettings(otlp_endpoint=address)


def test_a_user_is_found_by_the_pseudonym_too(store: TraceStore) -> None:
    hidden = pseudonym(store, "mia")
    assert hidden == pseudonym(store, "mia") != pseudonym(store, "ben")
    assert "mia" not in hidden
    put_run(store, 1, user=hidden)
    put_run(store, 2, user="mia")
    assert len(find(store, TraceFilter(user="mia"))) == 2
