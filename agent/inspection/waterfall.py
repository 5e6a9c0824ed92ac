"""Where the time of a run went: each node as a bar of parts, for terminal and page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.inspection.listing import seconds_text
from mllm_srec.agent.inspection.records import NodeRecord, TraceRecord
from mllm_srec.agent.inspection.retrieval import SIMILARITIES
from mllm_srec.agent.tracing.attributes import PHASES
from mllm_srec.agent.untrusted import words

BAR_CELLS = 10, 40
"""Least and most width of a bar in a terminal."""
PARTS = {
    "queue": "waiting in the engine",
    "prefill": "reading prompts",
    "decode": "answering",
    "engine": "with the engine or waiting for it",
    "store": "stores",
    "nodes": "nodes below",
    "code": "code",
}
"""What a bar is made of, and what that is; `engine` is what the engine does not tell apart."""
_CELLS = {
    "queue": ("░", "yellow"),
    "prefill": ("▓", "blue"),
    "decode": ("█", "green"),
    "engine": ("▄", "blue"),
    "store": ("▒", "magenta"),
    "nodes": ("─", "dim"),
    "code": ("·", "cyan"),
}
"""How each part is drawn: told apart without colours, too."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of the waterfall. Its parts are sums: what ran by turns stands side by side."""

    name: str
    depth: int
    """1 below the run, 2 below a node, ..."""
    offset: float
    """Seconds from the start of the run."""
    seconds: float | None
    parts: dict[str, float]
    """Seconds by part, in the order of `PARTS`; together the seconds of the bar."""
    below: tuple["Bar", ...] = ()
    """What is told apart inside of it: the sources of a retrieval."""

    @property
    def own_seconds(self) -> float:
        """Its seconds without those of the nodes below it."""
        return (self.seconds or 0.0) - self.parts.get("nodes", 0.0)


def bars(trace: TraceRecord) -> tuple[list[Bar], float]:
    """The bars of a run, one for each node, and the seconds that its widest line stands for."""
    ends = [node.offset + (node.seconds or 0.0) for node in trace.nodes]
    made = [
        Bar(
            name=node.step,
            depth=node.depth,
            offset=node.offset,
            seconds=node.seconds,
            parts=_parts(node, _below(node, trace.nodes[number:])),
            below=tuple(_searched(node)),
        )
        for number, node in enumerate(trace.nodes, 1)
    ]
    return made, max([trace.run.seconds or 0.0, *ends, 1e-9])


def slowest(made: Sequence[Bar], total: float) -> str:
    """Which node took most of the time, in words; empty where nothing took any.

    Args:
        made: The bars of a run.
        total: Its seconds, those between the nodes too.
    """
    most = max(made, key=lambda bar: bar.own_seconds, default=None)
    if most is None or not most.own_seconds:
        return ""
    share = most.own_seconds / total
    return f"slowest: {most.name}, {seconds_text(most.own_seconds)}, {share:.0%} of the run"


def _below(node: NodeRecord, later: Sequence[NodeRecord]) -> float:
    """Seconds of the nodes directly below a node, which are the first of those after it."""
    inside = takewhile(lambda each: each.depth > node.depth, later)
    return sum(each.seconds or 0.0 for each in inside if each.depth == node.depth + 1)


def _searched(node: NodeRecord) -> Iterator[Bar]:
    for each in node.searches:
        part = "store" if each.source in SIMILARITIES else "code"
        parts = {part: each.seconds}
        yield Bar(each.source, node.depth + 1, each.offset, each.seconds, parts)


def _parts(node: NodeRecord, below: float) -> dict[str, float]:
    total = node.seconds or 0.0
    phases = node.phases
    if phases:
        parts = {name: phases[name] for name in PHASES if name in phases}
        parts["engine"] = phases["other"]
    else:
        parts = {"engine": node.engine_seconds}
    parts["store"] = node.store_seconds or 0.0
    parts["nodes"] = below
    # Calls side by side, and clocks of other processes, may add up to more than the node.
    scale = min(1.0, total / sum(parts.values())) if sum(parts.values()) else 1.0
    parts = {name: seconds * scale for name, seconds in parts.items()}
    parts["code"] = max(total - sum(parts.values()), 0.0)
    return {name: seconds for name, seconds in parts.items() if seconds > 1e-9}


def waterfall(trace: TraceRecord) -> RenderableType:
    """When each node ran, and on what."""
    made, total = bars(trace)
    table = Table(box=None, pad_edge=False, show_header=False)
    for wraps in (False, True, False, True):
        table.add_column(no_wrap=not wraps)
    for bar in made:
        table.add_row(*_line(bar, total))
        for each in bar.below:
            table.add_row(*_line(each, total, "dim"))
    used = [name for name in PARTS if any(name in bar.parts for bar in made)]
    key = Text("  ").join(
        Text.assemble(_CELLS[name], f" {name}: {PARTS[name]}", style="dim") for name in used
    )
    return Group(table, key, Text(slowest(made, total), "dim"))


def _line(bar: Bar, total: float, style: str = "") -> tuple[RenderableType, ...]:
    told = [f"{name} {bar.parts[name]:.2f}" for name in PARTS if bar.parts.get(name, 0) >= 0.005]
    seconds = Text(seconds_text(bar.seconds), style)
    indent = Text("  " * (bar.depth - 2) + "└ " if bar.depth > 1 else "", "dim")
    name = Text.assemble(indent, words(bar.name, style))
    return name, _Drawn(bar, total), seconds, Text(", ".join(told), "dim")


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A bar as wide as its column, so that a narrow terminal shows all of it."""

    bar: Bar
    total: float

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(*BAR_CELLS).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield _cells(self.bar, self.total, min(options.max_width, BAR_CELLS[1]))


def _cells(bar: Bar, total: float, width: int) -> Text:
    seconds = bar.seconds or 0.0
    start = min(int(bar.offset / total * width), width - 1)
    length = min(max(1, round(seconds / total * width)), width - start)
    text, until = Text(" " * start), 0.0
    for name, part in bar.parts.items():
        sign, style = _CELLS[name]
        before, until = until, until + part
        cells = round(until / seconds * length) - round(before / seconds * length)
        text.append(sign * cells, style)
    if len(text) == start:  # Too short for its parts: the largest stands for all.
        sign, style = _CELLS[max(bar.parts, key=lambda part: bar.parts[part], default="code")]
        text.append(sign * length, style)
    return text
