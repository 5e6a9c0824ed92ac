"""Annotations of traces: who thought what of a run."""

import time
from dataclasses import dataclass
from typing import Literal, get_args

from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.traces import TraceStore

Verdict = Literal["good", "bad", "note"]
Kind = Literal["person", "rule", "model"]
"""Who annotates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One remark on a run."""

    verdict: Verdict
    note: str
    """In words; may be empty beside `good` and `bad`."""
    kind: Kind
    time_ns: int
    """When it was made, nanoseconds since 1970-01-01 UTC."""


def annotate(
    store: TraceStore, trace_id: str, verdict: Verdict, note: str = "", *, kind: Kind = "person"
) -> Annotation:
    """Keep a remark on a trace; earlier ones stay.

    Raises:
        TraceError: There is no such trace, the verdict is unknown, or a note has no words.
    """
    if verdict not in get_args(Verdict):
        raise TraceError(f"verdict {verdict!r} is none of {', '.join(get_args(Verdict))}")
    if verdict == "note" and not note.strip():
        raise TraceError("a note needs words: srec trace annotate ID note 'what you saw'")
    made = Annotation(verdict=verdict, note=note, kind=kind, time_ns=time.time_ns())
    values = (store.find_id(trace_id), made.time_ns, made.kind, made.verdict, made.note)
    with store.writing() as connection:
        connection.execute(
            "INSERT INTO annotations (trace_id, time_ns, kind, verdict, note) "
            "VALUES (?, ?, ?, ?, ?)",
            values,
        )
    return made


def annotations(store: TraceStore, trace_id: str) -> list[Annotation]:
    """The remarks on a trace, oldest first.

    Raises:
        TraceError: There is no such trace.
    """
    rows = store.rows(
        "SELECT verdict, note, kind, time_ns FROM annotations WHERE trace_id = ? ORDER BY id",
        store.find_id(trace_id),
    )
    return [
        Annotation(verdict=verdict, note=note, kind=kind, time_ns=time_ns)
        for verdict, note, kind, time_ns in rows
    ]
