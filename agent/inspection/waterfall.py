"""Where the time of a run went: each node as a bar of parts, for terminal and page."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.inspection.listing import seconds_text
from mllm_srec.agent.inspection.records import NodeRecord, TraceRecord
from mllm_srec.agent.inspection.retrieval import SIMILARITIES
from mllm_srec.agent.tracing.attributes import PHASES
from mllm_srec.agent.untrusted import words

BAR_CELLS = 40
"""Width of a bar in a terminal."""
PARTS = {
    "queue": "waiting in the engine",
    "prefill": "reading prompts",
    "decode": "answering",
    "engine": "with the engine or waiting for it",
    "store": "stores",
    "code": "code",
}
"""What a bar is made of, and what that is; `engine` is what the engine does not tell apart."""
_CELLS = {
    "queue": ("░", "yellow"),
    "prefill": ("▓", "blue"),
    "decode": ("█", "green"),
    "engine": ("█", "blue"),
    "store": ("▒", "magenta"),
    "code": ("▒", "cyan"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of the waterfall. Its parts are sums: what ran by turns stands side by side."""

    name: str
    offset: float
    """Seconds from the start of the run."""
    seconds: float | None
    parts: dict[str, float]
    """Seconds by part, in the order of `PARTS`; together the seconds of the bar."""
    below: tuple["Bar", ...] = ()
    """What is told apart inside of it: the sources of a retrieval."""


def bars(trace: TraceRecord) -> tuple[list[Bar], float]:
    """The bars of a run, one for each node, and the seconds that its widest line stands for."""
    ends = [node.offset + (node.seconds or 0.0) for node in trace.nodes]
    made = [
        Bar(each.step, each.offset, each.seconds, _parts(each), tuple(_searched(each)))
        for each in trace.nodes
    ]
    return made, max([trace.run.seconds or 0.0, *ends, 1e-9])


def _searched(node: NodeRecord) -> Iterator[Bar]:
    for each in node.searches:
        part = "store" if each.source in SIMILARITIES else "code"
        yield Bar(each.source, each.offset, each.seconds, {part: each.seconds})


def _parts(node: NodeRecord) -> dict[str, float]:
    total = node.seconds or 0.0
    phases = node.phases
    if phases:
        parts = {name: phases[name] for name in PHASES if name in phases}
        parts["engine"] = phases["other"]
    else:
        parts = {"engine": node.engine_seconds}
    parts["store"] = node.store_seconds or 0.0
    # Calls side by side, and clocks of other processes, may add up to more than the node.
    scale = min(1.0, total / sum(parts.values())) if sum(parts.values()) else 1.0
    parts = {name: seconds * scale for name, seconds in parts.items()}
    parts["code"] = max(total - sum(parts.values()), 0.0)
    return {name: seconds for name, seconds in parts.items() if seconds > 1e-9}


def waterfall(trace: TraceRecord) -> RenderableType:
    """When each node ran, and on what."""
    made, total = bars(trace)
    slowest = max((node.seconds or 0.0 for node in trace.nodes), default=0.0)
    table = Table(box=None, pad_edge=False, show_header=False)
    for bar in made:
        style = "bold" if bar.seconds == slowest else ""
        table.add_row(*_line(bar, total, style))
        for each in bar.below:
            table.add_row(*_line(replace(each, name=f"└ {each.name}"), total, "dim"))
    used = [name for name in PARTS if any(name in bar.parts for bar in made)]
    key = Text("  ").join(
        Text.assemble(_CELLS[name], f" {name}: {PARTS[name]}", style="dim") for name in used
    )
    return Group(table, key)


def _line(bar: Bar, total: float, style: str) -> tuple[Text, ...]:
    told = [f"{name} {bar.parts[name]:.2f}" for name in PARTS if bar.parts.get(name, 0) >= 0.005]
    seconds = Text(seconds_text(bar.seconds), style)
    return words(bar.name, style), _drawn(bar, total), seconds, Text(", ".join(told), "dim")


def _drawn(bar: Bar, total: float) -> Text:
    seconds = bar.seconds or 0.0
    start = min(int(bar.offset / total * BAR_CELLS), BAR_CELLS - 1)
    length = min(max(1, round(seconds / total * BAR_CELLS)), BAR_CELLS - start)
    text, until = Text(" " * start), 0.0
    for name, part in bar.parts.items():
        sign, style = _CELLS[name]
        before, until = until, until + part
        cells = round(until / seconds * length) - round(before / seconds * length)
        text.append(sign * cells, style)
    if len(text) == start:  # Too short for its parts.
        text.append("▒" * length, "cyan")
    return text.append(" " * (BAR_CELLS - len(text)))
