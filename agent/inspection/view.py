"""Traces as rich renderables: pure, records in, renderables out."""

import json
import re
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from mllm_srec.agent.inspection.differences import changes
from mllm_srec.agent.inspection.listing import STATUS, seconds_text
from mllm_srec.agent.inspection.pictures import Draw, nothing_drawn
from mllm_srec.agent.inspection.records import CallRecord, NodeRecord, RunRecord, TraceRecord
from mllm_srec.agent.inspection.sections import NOTHING, Added, sections
from mllm_srec.agent.inspection.state import Values, states, steps
from mllm_srec.agent.inspection.summary import UNTITLED, Titles, asked, gave
from mllm_srec.agent.inspection.tables import Section
from mllm_srec.agent.inspection.waterfall import waterfall
from mllm_srec.agent.results import Tokens
from mllm_srec.agent.terminal.graph_picture import NODES
from mllm_srec.agent.terminal.views import path_text
from mllm_srec.agent.tracing.attributes import LATE, as_json
from mllm_srec.agent.untrusted import words

CALLS_SHOWN = 3
"""Calls of a node that are shown without `--full`."""
ROWS_SHOWN = 10
"""Rows of a table, and changes of the state, that are shown without `--full`."""
VALUE_CHARS = 600
"""Characters of a value, prompt or answer that are shown without `--full`."""
STATE_CHARS = 160
"""The same of a value of the state, most of which the tables and calls say in words."""


def trace_tree(
    trace: TraceRecord,
    *,
    full: bool = False,
    step: str | None = None,
    added: Added = NOTHING,
    titles: Titles = UNTITLED,
    draw: Draw = nothing_drawn,
) -> RenderableType:
    """A run: what it was, how its time went, and its nodes with calls, prompts and answers.

    Args:
        trace: What to show.
        full: Show every call and row, and texts without a cut.
        step: The only step to show.
        added: More tables, by step.
        titles: Of the items that the run gave.
        draw: Shows the pictures of the calls that are shown.

    Raises:
        TraceError: The trace has no such step.
    """
    tree = Tree(trace_head(trace, titles), guide_style="dim")
    branches = {0: tree}
    for node, before, after in states(trace) if step is None else steps(trace, step):
        tables = [*sections(node, before, trace.run), *added.get(node.step, ())]
        above = branches[max(depth for depth in branches if depth < max(node.depth, 1))]
        branches[node.depth] = above.add(_node(node, before, after, tables, draw, full))
        branches = {depth: each for depth, each in branches.items() if depth <= node.depth}
    times = (Text(""), waterfall(trace)) if trace.nodes else ()
    return Group(tree, *times, *_remarks(trace))


def trace_head(trace: TraceRecord, titles: Titles = UNTITLED) -> Text:
    """What a run was, was asked and gave, what it was made with, and the way it took."""
    run = trace.run
    label, style = STATUS.get(run.status, (run.status, ""))
    head = Text.assemble(
        (run.trace_id, "cyan"),
        f"  {run.started:%Y-%m-%d %H:%M:%S} UTC\n",
        words(run.name, "bold"),
        *((" for ", words(run.user, "bold")) if run.user else ()),
        f"  {seconds_text(run.seconds)}  ",
        (label, style),
    )
    for name, told in (("asked", asked(run)), ("gave", gave(trace, titles))):
        if told:
            head.append_text(Text.assemble((f"\n{name} ", "dim"), words(told, "bold")))
    if run.engine:
        head.append_text(Text.assemble("\n", words(run.engine), " ", words(run.model or "")))
    head.append_text(_made_with(run))
    if run.parent:
        head.append_text(Text.assemble("\nforked from ", words(run.parent, "cyan")))
        head.append_text(words(f", changed {as_json(run.edits)}", "dim"))
    if run.path:
        head.append_text(Text.assemble("\npath ", words(path_text(run.path), "green")))
    if left := not_taken(run):
        head.append_text(Text(f"\nnot taken: {', '.join(left)}", "dim"))
    if run.error:
        head.append_text(Text.assemble("\n", words(run.error, "red")))
    for line in trace.missing:
        head.append_text(Text.assemble("\nmissing: ", words(line, "yellow")))
    return head


def _made_with(run: RunRecord) -> Text:
    """Versions and hashes, the hashes cut."""
    made = Text()
    for name, value in run.provenance.items():
        if name.endswith(("version", "hash", "adapter", "seed")):
            short = str(value)[:12] if name.endswith("hash") else str(value)
            made.append(" · ", "dim")
            made.append_text(words(f"{name.removeprefix('srec.')} {short}", "dim"))
    return made


def not_taken(run: RunRecord) -> tuple[str, ...]:
    """Nodes that a finished run of the graph left out, from where it began."""
    if run.status != "OK" or not run.path or not set(run.path) <= set(NODES):
        return ()
    return tuple(name for name in NODES[NODES.index(run.path[0]) :] if name not in run.path)


def _remarks(trace: TraceRecord) -> Iterator[RenderableType]:
    for remark in trace.annotations:
        said = f" {remark.note}" if remark.note else ""
        yield words(f"{remark.verdict} ({remark.kind}){said}", "magenta")


def _node(
    node: NodeRecord,
    before: Values,
    after: Values,
    tables: list[Section],
    draw: Draw,
    full: bool,
) -> RenderableType:
    parts: list[RenderableType] = [_title(node)]
    if used := store_line(node):
        parts.append(words(f"stores: {used}", "dim"))
    if node.error:
        parts.append(words(node.error, "red"))
    parts += [_event(event.name, dict(event.attributes)) for event in node.events]
    parts += [_table(section, full, VALUE_CHARS) for section in tables]
    if rows := tuple(each.row for each in changes(before, after)):
        columns = ("state", "before", "after")
        changed = Section(title="What changed", columns=columns, rows=rows)
        parts.append(_table(changed, full, STATE_CHARS))
    elif not tables:
        parts += [
            _field(name, value, full)
            for name, value in (("in", node.input), ("out", node.output))
            if value is not None
        ]
    shown = node.calls if full else node.calls[:CALLS_SHOWN]
    parts += [_call(call, draw, full) for call in shown]
    if left := len(node.calls) - len(shown):
        parts.append(Text(f"… and {left} more calls (--full shows them)", "dim"))
    return Group(*parts)


def _title(node: NodeRecord) -> Text:
    mark, style = {"OK": ("●", "green"), "ERROR": ("✗", "red")}.get(node.status, ("○", "yellow"))
    return Text.assemble(
        (f"{mark} ", style),
        words(node.step, "bold"),
        (f"  +{node.offset:.2f} s, ", "dim"),
        seconds_text(node.seconds),
        (f"  {token_line(node.tokens)}", "dim"),
        *((f"  {mark}", "yellow") for mark in marks(node)),
    )


def marks(node: NodeRecord) -> Iterator[str]:
    """Yield what was out of the ordinary in a pass: retries, timeouts, repairs, fallbacks."""
    if node.tries > 1:
        yield f"try {node.tries}"
    if node.error.startswith(LATE) or "Timeout" in node.error:
        yield "timed out"
    if repaired := sum(call.repairs for call in node.calls):
        yield f"{repaired} repaired" if repaired > 1 else "repaired"
    if node.fallbacks:
        yield f"{node.fallbacks} plain forms" if node.fallbacks > 1 else "plain form"
    if node.calls and all(call.stored for call in node.calls):
        yield "all from the cache"


def _table(section: Section, full: bool, limit: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in section.columns:
        table.add_column(name, overflow="fold")
    shown = section.rows if full else section.rows[:ROWS_SHOWN]
    for row in shown:
        table.add_row(*(words(cell, limit=None if full else limit) for cell in row))
    left = len(section.rows) - len(shown)
    parts: list[RenderableType] = [Text(section.title, "bold"), table]
    if left:
        parts.append(Text(f"… and {left} more (--full shows them)", "dim"))
    if section.note:
        parts.append(words(section.note, "dim"))
    return Padding(Group(*parts), (0, 0, 0, 2))


def _event(name: str, facts: dict[str, Any]) -> Text:
    detail = ", ".join(f"{key} {value}" for key, value in facts.items())
    return Text.assemble(("◆ ", "yellow"), words(name, "yellow"), " ", words(detail, "dim"))


def _call(call: CallRecord, draw: Draw, full: bool) -> RenderableType:
    sizes = call.sizes or ("",) * len(call.images)
    head = Text.assemble(
        ("→ ", "blue"),
        words(call.kind, "blue"),
        ("  stored" if call.stored else f"  {call.seconds:.3f} s", "dim"),
        (f", 1 of {call.batch} sent together" if call.batch > 1 else "", "dim"),
        *(
            words(f", picture {image[:19]} {size}".rstrip(), "magenta")
            for image, size in zip(call.images, sizes, strict=True)
        ),
    )
    pictures = [picture for image in call.images if (picture := draw(image)) is not None]
    parts: list[RenderableType] = [head, *pictures, _long(call.prompt, "", full)]
    if call.answer is not None:
        answer = Table.grid(Column(), Column(overflow="fold"), padding=(0, 1))
        answer.add_row(Text("←", "green"), _long(call.answer, "green", full))
        parts.append(answer)
    elif call.kind != "embed" and not call.error:
        parts.append(Text("no answer was recorded", "yellow"))
    if call.problem is not None:
        parts.append(words(f"refused: {call.problem}", "yellow"))
    if call.logprobs:
        margin = "" if call.margin is None else f"; margin {call.margin:+.4f}"
        parts.append(words(f"log-probabilities: {call.labels(4)}{margin}", "dim"))
    if call.error:
        parts.append(words(call.error, "red"))
    return Group(parts[0], Padding(Group(*parts[1:]), (0, 0, 0, 2)))


def _field(name: str, value: object, full: bool) -> Text:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Text.assemble((f"{name} ", "dim"), _long(text, "dim", full))


def _long(text: str, style: str, full: bool) -> Text:
    """A text in full, or its beginning and its end: prompts differ from each other at the end."""
    shown = words(text, style, lines=True)
    if full or len(shown) <= VALUE_CHARS:
        return shown
    half = VALUE_CHARS // 2
    # At a blank, where there is one near by.
    first = len(re.sub(r"\s\S{0,30}\Z", "", shown.plain[:half]))
    last = len(shown) - len(re.sub(r"\A\S{0,30}\s", "", shown.plain[-half:]))
    cut = Text(f"\n… {last - first} characters (--full shows them) …\n", "dim")
    return Text.assemble(shown[:first], cut, shown[last:])


def store_line(node: NodeRecord) -> str:
    """Which stores a node used, how often and how long, in a few words."""
    uses = (f"{name} {count} in {s:.4f} s" for name, (count, s) in node.stores.items())
    return ", ".join(uses)


def token_line(tokens: Tokens) -> str:
    """Calls and tokens in a few words, nothing for a node that asked nothing."""
    parts = []
    if tokens.calls:
        calls = "1 call" if tokens.calls == 1 else f"{tokens.calls} calls"
        parts.append(calls)
    if tokens.prompt or tokens.completion:
        parts.append(f"{tokens.prompt} + {tokens.completion} tokens")
    if tokens.cached:
        parts.append(f"{tokens.cached} in the prefix cache")
    if tokens.stored:
        parts.append(f"{tokens.stored} stored")
    return ", ".join(parts)
