"""Listing traces: the filter that a person typed, the table, and following a live file."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.inspection.reading import read_run
from mllm_srec.agent.inspection.records import RunRecord
from mllm_srec.agent.inspection.summary import UNTITLED, Titles, asked, run_gave
from mllm_srec.agent.untrusted import words
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.traces import BUSY_S, TraceStore

WIDE = 110
"""Columns of a terminal from which on the table says more."""
POLL_S = 0.5
"""Seconds between two looks at a file that is followed."""
_LATE_NS = round(2 * BUSY_S * 1e9)
"""How much later than its time a span may be written: a writer waits for the others."""
_FARTHEST_NS = 2**63 - 1
"""The file keeps times in 64 bits."""
STATUS = {"OK": ("done", "green"), "ERROR": ("failed", "red"), "UNSET": ("unfinished", "yellow")}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_time(text: str, *, now: datetime) -> int:
    """A moment as nanoseconds since 1970-01-01 UTC.

    Args:
        text: `30m`, `2h`, `7d` (ago), or a date such as `2026-11-20` or `2026-11-20T18:00`, in UTC
            where it names no other zone.
        now: What "ago" counts from.

    Raises:
        ValueError: It is neither.
    """
    try:
        if ago := re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", text):
            moment = now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found = round(moment.timestamp() * 1e9)
    except OverflowError as error:
        raise ValueError(_out_of_range(text)) from error
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: write 30m, 2h, 7d, or 2026-11-20T18:00") from error
    if abs(found) > _FARTHEST_NS:
        raise ValueError(_out_of_range(text))
    return found


def _out_of_range(text: str) -> str:
    return f"{text!r} is out of range: traces have times from 1678 to 2261"


def follow(store: TraceStore, wanted: TraceFilter, limit: int) -> Iterator[RunRecord]:
    """Yield the newest runs, oldest first, then each run that starts or ends, without an end."""
    looked_ns = time.time_ns()

    def active() -> list[Span]:
        """Runs that started or ended since the last look, or may have been written since."""
        return find(store, replace(wanted, active_since_ns=looked_ns - _LATE_NS))

    version = store.rows("PRAGMA data_version")
    shown = {root.trace_id: root.status for root in active()}
    for root in reversed(find(store, wanted, limit)):
        shown[root.trace_id] = root.status
        yield read_run(root)
    while True:
        if (current := store.rows("PRAGMA data_version")) != version:
            version, now_ns = current, time.time_ns()
            for root in reversed(active()):
                if shown.get(root.trace_id) != root.status:
                    shown[root.trace_id] = root.status
                    yield read_run(root)
            looked_ns = now_ns
        time.sleep(POLL_S)


def run_table(
    runs: Sequence[RunRecord], *, titles: Titles = UNTITLED, wide: bool = False
) -> RenderableType:
    """Traces, newest first: what each was asked for, and below what it gave.

    Args:
        runs: What to show.
        titles: Of the items that they gave.
        wide: There is room for what few look for: who answered, and how often.
    """
    if not runs:
        return Text(
            "No trace is like that. The first of a home comes with `srec recommend` or `srec demo`."
        )
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("trace", "started (UTC)"):
        table.add_column(name, no_wrap=True)
    # The one column that gives way; `--json` and `show` have it whole.
    table.add_column("run, and what it gave")
    table.add_column("user", no_wrap=True)
    for name in ("seconds", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    if wide:
        table.add_column("engine", no_wrap=True)
        table.add_column("calls", justify="right", no_wrap=True)
    for run in runs:
        label, style = STATUS.get(run.status, (run.status, ""))
        table.add_row(
            Text(run.trace_id[:12], "cyan"),
            Text(f"{run.started:%m-%d %H:%M:%S}"),
            Text.assemble(
                words(run.name),
                " fork " if run.parent else " ",
                words(asked(run), "dim"),
                *(("\n", words(told)) if (told := run_gave(run, titles)) else ()),
                no_wrap=True,
                overflow="ellipsis",
            ),
            words(run.user or "-", limit=14),
            seconds_text(run.seconds),
            "-" if run.score is None else f"{run.score:.2f}",
            Text(label, style),
            *((words(run.engine or "-"), _number(run.calls)) if wide else ()),
        )
    return table


def listed(run: RunRecord, titles: Titles = UNTITLED) -> dict[str, Any]:
    """A run as plain JSON values, with what it was asked for and what it gave in words."""
    return {**run.to_dict(), "asked": asked(run), "gave": run_gave(run, titles)}


def run_line(run: RunRecord) -> Text:
    """One run in one line, for a list that grows."""
    label, style = STATUS.get(run.status, (run.status, ""))
    return Text.assemble(
        (run.trace_id[:12], "cyan"),
        f"  {run.started:%H:%M:%S}  ",
        words(run.name),
        "  ",
        words(run.user or "-", limit=24),
        f"  {seconds_text(run.seconds)}  ",
        (label, style),
        "  ",
        words(asked(run), "dim", limit=60),
    )


def seconds_text(seconds: float | None) -> str:
    """Seconds as they are shown, `-` where there is no end."""
    return "-" if seconds is None else f"{seconds:.2f} s"


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)
