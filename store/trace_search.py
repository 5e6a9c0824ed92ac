"""Finding traces: what a list of runs can be filtered by, and how SQL says it.

Every condition on a run reads the index `runs` alone, so that a list of 100,000 runs costs tens of
milliseconds. Words are looked up in a full-text index: `LIKE` would read every prompt.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mllm_srec.store.spans import Span
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_settings import names_of
from mllm_srec.store.trace_words import LONGEST, match_expression
from mllm_srec.store.traces import TraceStore

MAX_INTEGER = 2**63 - 1
"""The largest number that SQLite knows."""
_NODES = "SELECT trace_id FROM spans WHERE name = ? AND kind NOT IN ('LLM', 'EMBEDDING')"
_FAILURES = "SELECT trace_id FROM spans WHERE status = 'ERROR'"
_VERDICTS = "SELECT trace_id FROM annotations WHERE verdict = ?"
# The sign keeps SQLite from reading all runs that hold the words before it sorts them.
_WORDS = "+id IN (SELECT rowid FROM words WHERE words MATCH ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Which runs are wanted; what is None or empty asks for nothing."""

    user: str | None = None
    """Whose history it read, also where the file keeps a pseudonym in the place of the id."""
    node: str | None = None
    """A node that ran."""
    engine: str | None = None
    model: str | None = None
    failed: bool = False
    """Something failed in it, also what was tried again and then succeeded."""
    least_seconds: float | None = None
    most_seconds: float | None = None
    least_score: float | None = None
    """Of the best label margin of the run, in nats."""
    most_score: float | None = None
    since_ns: int | None = None
    """Started then or later, nanoseconds since 1970-01-01 UTC."""
    until_ns: int | None = None
    """Started before."""
    active_since_ns: int | None = None
    """Started or ended then or later."""
    verdict: str | None = None
    """Somebody annotated it so."""
    words: str = ""
    """In its prompts, answers, inputs, outputs, events or errors; the last may be a beginning."""

    def conditions(self) -> Iterator[tuple[str, object]]:
        """Yield each condition, that on the user apart, with the value of its placeholder.

        Raises:
            TraceError: Words were given, and none is left to look for.
        """
        expression = match_expression(self.words)
        if self.words.strip() and not expression:
            raise TraceError(
                f"no word to look for in {self.words!r}: signs, decimal numbers and words of more "
                f"than {LONGEST} characters are not kept, give another word"
            )
        plain = {
            "engine = ?": self.engine,
            "model = ?": self.model,
            f"trace_id IN ({_NODES})": self.node,
            "end_ns - start_ns >= ? * 1e9": self.least_seconds,
            "end_ns - start_ns <= ? * 1e9": self.most_seconds,
            "score >= ?": self.least_score,
            "score <= ?": self.most_score,
            "start_ns >= ?": self.since_ns,
            "start_ns < ?": self.until_ns,
            f"trace_id IN ({_VERDICTS})": self.verdict,
            "max(start_ns, ifnull(end_ns, 0)) >= ?": self.active_since_ns,
            _WORDS: expression or None,
        }
        yield from ((condition, value) for condition, value in plain.items() if value is not None)
        if self.failed:
            yield f"trace_id IN ({_FAILURES}) = ?", True


def find(store: TraceStore, wanted: TraceFilter, limit: int | None = None) -> list[Span]:
    """The roots of the runs that pass all conditions, newest first.

    Raises:
        TraceError: No word is left to look for, or the file cannot be read.
    """
    conditions = list(wanted.conditions())
    values = [value for _, value in conditions]
    where = ["parent_id IS NULL", *(condition for condition, _ in conditions)]
    if wanted.user is not None:
        names = names_of(store, wanted.user)
        where.append(f"user IN ({', '.join('?' * len(names))})")
        values += names
    return store.select(
        f"INDEXED BY runs WHERE {' AND '.join(where)} ORDER BY start_ns DESC, id DESC LIMIT ?",
        *values,
        -1 if limit is None else min(limit, MAX_INTEGER),
    )
