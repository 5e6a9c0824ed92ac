"""One trace as one HTML file: nothing is loaded, nothing runs, and no text of others is markup.

Every text goes through Jinja2's escaping. The policy in the page allows its own style, by its
hash, and pictures as data, and nothing else: no script, no request.
"""

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from mllm_srec.agent.inspection.differences import changes
from mllm_srec.agent.inspection.listing import STATUS, seconds_text
from mllm_srec.agent.inspection.pictures import Find, decoded
from mllm_srec.agent.inspection.records import CallRecord, NodeRecord, TraceRecord
from mllm_srec.agent.inspection.sections import ITEM, NOTHING, Added, sections
from mllm_srec.agent.inspection.state import states
from mllm_srec.agent.inspection.summary import UNTITLED, Titles, asked, gave
from mllm_srec.agent.inspection.tables import Section
from mllm_srec.agent.inspection.view import marks, store_line, token_line
from mllm_srec.agent.inspection.waterfall import PARTS, Bar, bars, slowest
from mllm_srec.agent.terminal.graph_picture import Drawn, draw
from mllm_srec.agent.tracing.attributes import as_json
from mllm_srec.agent.untrusted import visible

Part = tuple[str, float, float]
"""A part of a bar: its name, and start and width in percent of the timeline."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the page, or why it is not there."""

    address: str
    size: str
    uri: str | None
    """`data:image/png;base64,...`; None where the bytes are lost or were left out."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A node as the page shows it."""

    node: NodeRecord
    anchor: str
    marks: tuple[str, ...]
    tokens: str
    stores: str
    sections: tuple[Section, ...]
    changes: tuple[tuple[str, str, str], ...]
    calls: tuple[tuple[CallRecord, tuple[Picture, ...]], ...]
    bar: tuple[Part, ...]
    below: tuple[tuple[Bar, tuple[Part, ...]], ...]
    """What its bar tells apart, with its parts."""


def html_page(
    trace: TraceRecord, pictures: Find, added: Added = NOTHING, titles: Titles = UNTITLED
) -> str:
    """The page of a trace.

    Args:
        trace: What to show.
        pictures: Finds the bytes of the pictures as sent.
        added: More tables, by step.
        titles: Of the items that the run gave, and of those in the tables.
    """
    nodes = _shown(trace, pictures, added)
    drawn = (parts for each in nodes for parts in (each.bar, *(part for _, part in each.below)))
    used = {name for parts in drawn for name, _, _ in parts}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["seen"] = _seen
    environment.filters["seconds"] = seconds_text
    style = _file("page.css")
    return environment.from_string(_file("page.html.jinja")).render(
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii"),
        trace=trace,
        run=trace.run,
        state=STATUS.get(trace.run.status, (trace.run.status, ""))[0],
        asked=asked(trace.run),
        gave=gave(trace, titles),
        titles=titles,
        item=ITEM,
        nodes=nodes,
        slowest=slowest(*bars(trace)),
        parts={name: PARTS[name] for name in PARTS if name in used},
        graph=_graph(trace),
    )


def _file(name: str) -> str:
    return files("mllm_srec.agent.inspection").joinpath(name).read_text("utf-8")


def _shown(trace: TraceRecord, pictures: Find, added: Added) -> list[Shown]:
    timeline, total = bars(trace)
    known: dict[str, Picture] = {}

    def picture(address: str, size: str) -> Picture:
        if address not in known:
            known[address] = _picture(address, size, pictures)
        return known[address]

    def call(each: CallRecord) -> tuple[CallRecord, tuple[Picture, ...]]:
        sizes = each.sizes or ("",) * len(each.images)
        return each, tuple(map(picture, each.images, sizes))

    return [
        Shown(
            node=node,
            anchor=f"step-{number}",
            marks=tuple(marks(node)),
            tokens=token_line(node.tokens),
            stores=store_line(node),
            sections=(*sections(node, before, trace.run), *added.get(node.step, ())),
            changes=tuple(each.row for each in changes(before, after)),
            calls=tuple(map(call, node.calls)),
            bar=tuple(_placed(timeline[number - 1], total)),
            below=tuple((bar, tuple(_placed(bar, total))) for bar in timeline[number - 1].below),
        )
        for number, (node, before, after) in enumerate(states(trace), 1)
    ]


def _placed(bar: Bar, total: float) -> Iterator[Part]:
    """Yield the parts of a bar one after the other; a bar without any still shows where it is."""
    start = 100 * bar.offset / total
    for name, seconds in (bar.parts or {"code": 0.0}).items():
        width = 100 * seconds / total
        yield name, start, max(width, 0.4 / max(len(bar.parts), 1))
        start += width


def _graph(trace: TraceRecord) -> Drawn:
    """The graph with the taken path; a run of another graph is drawn by its path alone."""
    first = {node.name: f"step-{number}" for number, node in reversed([*enumerate(trace.nodes, 1)])}
    return draw(trace.run.path or tuple(node.name for node in trace.nodes), first)


def _picture(address: str, size: str, find: Find) -> Picture:
    """The picture decoded and written anew, so that only pixels get into the page."""
    image = decoded(address, find)
    if image is None:
        return Picture(address, size, None)
    clean = io.BytesIO()
    image.save(clean, "PNG", optimize=True)
    content = base64.b64encode(clean.getvalue()).decode("ascii")
    return Picture(address, size, f"data:image/png;base64,{content}")


def _seen(value: Any) -> str:
    """A value in words, with characters that hide or turn text written out."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    return visible(_plain(value), lines=True)


def _plain(value: Any) -> str:
    """A value as text; what holds others as JSON."""
    return as_json(value) if isinstance(value, Mapping | list) else str(value)
