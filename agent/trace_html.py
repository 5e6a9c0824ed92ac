"""One trace as one HTML file: nothing is loaded, nothing runs, and no text of others is markup.

Every text goes through Jinja2's escaping. The policy in the page allows its own style, by its
hash, and pictures as data, and nothing else: no script, no request.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image, UnidentifiedImageError

from mllm_srec.agent.differences import changes
from mllm_srec.agent.graph_picture import Drawn, draw
from mllm_srec.agent.trace_list import STATUS, seconds_text
from mllm_srec.agent.trace_records import CallRecord, NodeRecord, TraceRecord
from mllm_srec.agent.trace_sections import Section, sections
from mllm_srec.agent.trace_state import states
from mllm_srec.agent.trace_view import marks, token_line
from mllm_srec.agent.untrusted import visible

Pictures = Callable[[str], bytes | None]
"""The bytes of a picture by its SHA-256."""
PICTURE_PIXELS = 4_000_000
"""Pictures beyond it are not decoded; those sent to a model are far smaller."""


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
    sections: tuple[Section, ...]
    changes: tuple[tuple[str, str, str], ...]
    calls: tuple[tuple[CallRecord, tuple[Picture, ...]], ...]
    left: float
    """Percent of the timeline before it."""
    width: float
    """Percent of the timeline that it took, with the engine's part of it in `engine`."""
    engine: float


def html_page(trace: TraceRecord, pictures: Pictures) -> str:
    """The page of a trace.

    Args:
        trace: What to show.
        pictures: Finds the bytes of the pictures as sent.
    """
    nodes = _shown(trace, pictures)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["seen"] = _seen
    environment.filters["seconds"] = seconds_text
    style = _file("trace.css")
    return environment.from_string(_file("trace.html.jinja")).render(
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii"),
        trace=trace,
        run=trace.run,
        state=STATUS.get(trace.run.status, (trace.run.status, ""))[0],
        nodes=nodes,
        graph=_graph(trace),
    )


def _file(name: str) -> str:
    return files("mllm_srec.agent").joinpath(name).read_text("utf-8")


def _shown(trace: TraceRecord, pictures: Pictures) -> list[Shown]:
    ends = [node.offset + (node.seconds or 0.0) for node in trace.nodes]
    total = max([trace.run.seconds or 0.0, *ends, 1e-9])
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
            sections=tuple(sections(node, before, after, trace.run)),
            changes=tuple(each.row for each in changes(before, after)),
            calls=tuple(map(call, node.calls)),
            left=100 * node.offset / total,
            width=100 * (node.seconds or 0.0) / total,
            engine=100 * min(node.engine_seconds, node.seconds or 0.0) / total,
        )
        for number, (node, before, after) in enumerate(states(trace), 1)
    ]


def _graph(trace: TraceRecord) -> Drawn:
    """The graph with the taken path; a run of another graph is drawn by its path alone."""
    first = {node.name: f"step-{number}" for number, node in reversed([*enumerate(trace.nodes, 1)])}
    return draw(trace.run.path or tuple(node.name for node in trace.nodes), first)


def _picture(address: str, size: str, find: Pictures) -> Picture:
    digest = address.removeprefix("sha256:")
    content = find(digest) if len(digest) == 64 and address != digest else None
    return Picture(address, size, _data_uri(content) if content is not None else None)


def _data_uri(content: bytes) -> str | None:
    """The picture decoded and written anew, so that only pixels get into the page."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > PICTURE_PIXELS:
                return None
            clean = io.BytesIO()
            image.convert("RGB").save(clean, "PNG", optimize=True)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None
    return f"data:image/png;base64,{base64.b64encode(clean.getvalue()).decode('ascii')}"


def _seen(value: Any) -> str:
    """A value in words, with characters that hide or turn text written out."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {each}" for name, each in value.items())
    return visible(str(value), lines=True)
