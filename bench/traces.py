"""A trace file of 100,000 turns of 10 spans: listing, searching and showing, in this process."""

import io
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console

from bench.figures import Figure
from mllm_srec.agent.inspection.listing import run_table
from mllm_srec.agent.inspection.reading import load_trace, read_run
from mllm_srec.agent.inspection.view import trace_tree
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.traces import TraceStore

TURNS = 100_000
TOGETHER = 500
"""Turns that are written in one transaction."""
USERS, WORDS = 2_000, 5_000
SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS
NODES = ("load_user", "fuse_items", "summarize_preferences", "profile_user", "explain")
FILTERS = {
    "the newest": TraceFilter(),
    "a user": TraceFilter(user="u77"),
    "a node": TraceFilter(node="explain"),
    "failed": TraceFilter(failed=True),
    "slow": TraceFilter(least_seconds=2.9),
    "score": TraceFilter(least_score=2.9),
    "engine and model": TraceFilter(engine="vllm", model="srec-tiny"),
    "a day": TraceFilter(since_ns=START_NS, until_ns=START_NS + 86_400 * SECOND_NS),
}
SEARCHES = ("word77", "word77 word78", "word7", "user likes")
"""A rare word, two of them, a beginning, and words that every turn holds."""


def turn(number: int) -> list[Span]:
    """The ten spans of a made turn: a run, five nodes, four calls."""
    trace_id, start = f"{number + 1:032x}", START_NS + number * 30 * SECOND_NS
    took = (1 + number % 20 / 10) * SECOND_NS
    spans = itertools.count(10 * number + 1)

    def span(parent: str | None, name: str, kind: str, **attributes: str | float) -> Span:
        failed = name == "explain" and number % 1_000 == 0
        return Span(
            trace_id=trace_id,
            span_id=f"{next(spans):016x}",
            parent_id=parent,
            name=name,
            kind=kind,
            start_ns=start,
            end_ns=start + int(took),
            status="ERROR" if failed else "OK",
            message="EngineLost: the server does not answer" if failed else "",
            attributes=attributes,
        )

    facts: dict[str, str | float] = {
        "user.id": f"u{number % USERS}",
        "srec.engine": "vllm",
        "llm.model_name": "srec-tiny",
        "srec.score": number % 30 / 10,
    }
    root = span(None, "recommend", "AGENT", **facts)
    nodes = [span(root.span_id, name, "CHAIN", **{"output.value": "{}"}) for name in NODES]
    calls = [
        span(
            nodes[index].span_id,
            "generate",
            "LLM",
            **{
                "llm.input_messages.0.message.role": "user",
                "llm.input_messages.0.message.content": (
                    f"The user likes word{number % WORDS} and word{(number + index) % WORDS}. "
                    f"Item {number * 4 + index}: a kite of cotton. Answer in one sentence. " * 4
                ),
                "llm.output_messages.0.message.content": f"word{number * 7 % WORDS} flies.",
            },
        )
        for index in range(1, 5)
    ]
    return [root, *nodes, *calls]


def fill(store: TraceStore, turns: int) -> None:
    """Write so many turns."""
    for start in range(0, turns, TOGETHER):
        numbers = range(start, min(start + TOGETHER, turns))
        store.put_spans(span for number in numbers for span in turn(number))


def measure(folder: Path, repeats: int) -> Iterator[Figure]:
    """Yield the slowest list, the slowest search, and what it takes to show a turn."""
    with TraceStore.open(folder / "many.sqlite") as store:
        started = time.perf_counter()
        fill(store, TURNS)
        took, size = time.perf_counter() - started, store.path.stat().st_size / 2**20
        filled = f"{TURNS:,} turns, {size:,.0f} MiB, written in {took:.0f} s"
        lists = {name: _seconds(repeats, _list(store, each)) for name, each in FILTERS.items()}
        yield _slowest("trace_list_seconds", lists, 0.3, filled)
        searches = {
            text: _seconds(repeats, _list(store, TraceFilter(words=text))) for text in SEARCHES
        }
        yield _slowest("trace_search_seconds", searches, 0.3, filled)
        shown = {
            f"turn {number:,}": _seconds(repeats, partial(_show, store, number))
            for number in (0, TURNS // 2, TURNS - 1)
        }
        yield _slowest("trace_show_seconds", shown, 0.5, filled)


def _list(store: TraceStore, wanted: TraceFilter) -> Callable[[], None]:
    def work() -> None:
        runs = [read_run(root) for root in find(store, wanted, 20)]
        if not runs:
            raise RuntimeError(f"{wanted} finds nothing: that is not what is to be measured")
        _console().print(run_table(runs))

    return work


def _show(store: TraceStore, number: int) -> None:
    _console().print(trace_tree(load_trace(store, f"{number + 1:032x}"), full=True))


def _console() -> Console:
    return Console(file=io.StringIO(), width=120)


def _seconds(repeats: int, work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def _slowest(name: str, seconds: dict[str, float], limit: float, filled: str) -> Figure:
    worst = max(seconds, key=lambda each: seconds[each])
    detail = f"seconds, {worst!r} the slowest of {len(seconds)}; {filled}"
    return Figure(name, seconds[worst], limit, at_least=False, detail=detail)
