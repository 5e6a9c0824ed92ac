"""Traces as rich renderables: pure, records in, renderables out."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mllm_srec.agent.results import Tokens
from mllm_srec.agent.trace_reading import CallRecord, NodeRecord, RunRecord, TraceRecord
from mllm_srec.agent.untrusted import words

CALLS_SHOWN = 3
"""Calls of a node that are shown without `--full`."""
VALUE_CHARS = 600
"""Characters of a value, prompt or answer that are shown without `--full`."""
_STATUS = {"OK": ("done", "green"), "ERROR": ("failed", "red"), "UNSET": ("unfinished", "yellow")}


def run_table(runs: Sequence[RunRecord]) -> RenderableType:
    """Traces, newest first, one line each."""
    if not runs:
        return Text("No traces yet: run `srec recommend` or `srec demo` first.")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("trace", "started (UTC)", "run", "user", "engine"):
        table.add_column(name, overflow="ellipsis", no_wrap=name != "user")
    for name in ("seconds", "calls", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for run in runs:
        label, style = _STATUS.get(run.status, (run.status, ""))
        table.add_row(
            Text(run.trace_id[:12], "cyan"),
            Text(f"{run.started:%Y-%m-%d %H:%M:%S}"),
            words(run.name),
            words(run.user or "-", limit=24),
            words(run.engine or "-"),
            _seconds(run.seconds),
            _number(run.calls),
            _number(run.tokens),
            Text(label, style),
        )
    return table


def trace_tree(trace: TraceRecord, *, full: bool = False) -> RenderableType:
    """A run with its nodes, calls, prompts and answers.

    Args:
        trace: What to show.
        full: Show every call, and texts without a cut.
    """
    run = trace.run
    label, style = _STATUS.get(run.status, (run.status, ""))
    head = Text.assemble(
        (run.trace_id, "cyan"),
        f"  {run.started:%Y-%m-%d %H:%M:%S} UTC  ",
        words(run.name, "bold"),
        *((" for ", words(run.user, "bold")) if run.user else ()),
        f"  {_seconds(run.seconds)}  ",
        (label, style),
    )
    if run.engine:
        head.append_text(Text.assemble("\n", words(run.engine), " ", words(run.model or "")))
    if run.error:
        head.append_text(Text.assemble("\n", words(run.error, "red")))
    tree = Tree(head, guide_style="dim")
    branches = {0: tree}
    for node in trace.nodes:
        above = branches[max(depth for depth in branches if depth < max(node.depth, 1))]
        branches[node.depth] = above.add(_node(node, full))
        branches = {depth: each for depth, each in branches.items() if depth <= node.depth}
    return tree


def _node(node: NodeRecord, full: bool) -> RenderableType:
    tokens = node.tokens
    mark, style = {"OK": ("●", "green"), "ERROR": ("✗", "red")}.get(node.status, ("○", "yellow"))
    parts: list[RenderableType] = [
        Text.assemble(
            (f"{mark} ", style),
            words(node.name, "bold"),
            (f"  +{node.offset:.2f} s, ", "dim"),
            _seconds(node.seconds),
            (f"  {token_line(tokens)}", "dim"),
        )
    ]
    if node.error:
        parts.append(words(node.error, "red"))
    parts += [_event(event.name, dict(event.attributes)) for event in node.events]
    parts += [
        _field(name, value, full)
        for name, value in (("in", node.input), ("out", node.output))
        if value is not None
    ]
    shown = node.calls if full else node.calls[:CALLS_SHOWN]
    parts += [_call(call, full) for call in shown]
    if left := len(node.calls) - len(shown):
        parts.append(Text(f"… and {left} more calls (--full shows them)", "dim"))
    return Group(*parts)


def _event(name: str, facts: dict[str, Any]) -> Text:
    detail = ", ".join(f"{key} {value}" for key, value in facts.items())
    return Text.assemble(("◆ ", "yellow"), words(name, "yellow"), " ", words(detail, "dim"))


def _call(call: CallRecord, full: bool) -> RenderableType:
    head = Text.assemble(
        ("→ ", "blue"),
        words(call.kind, "blue"),
        ("  stored" if call.stored else f"  {call.seconds:.3f} s", "dim"),
        (f", 1 of {call.batch} sent together" if call.batch > 1 else "", "dim"),
        *((f", picture {image[:19]}", "magenta") for image in call.images),
    )
    parts: list[RenderableType] = [head, _long(call.prompt, "", full)]
    if call.answer is not None:
        parts.append(Text.assemble(("← ", "green"), _long(call.answer, "green", full)))
    if call.logprobs:
        labels = ", ".join(f"{label} {value:.4f}" for label, value in call.logprobs.items())
        parts.append(words(f"log-probabilities: {labels}", "dim"))
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
    cut = Text(f"\n… {len(shown) - VALUE_CHARS} characters (--full shows them) …\n", "dim")
    return Text.assemble(shown[: VALUE_CHARS // 2], cut, shown[-VALUE_CHARS // 2 :])


def token_line(tokens: Tokens) -> str:
    """Calls and tokens in a few words, nothing for a node that asked nothing."""
    parts = []
    if tokens.calls:
        calls = "1 call" if tokens.calls == 1 else f"{tokens.calls} calls"
        parts.append(f"{calls}, {tokens.prompt} + {tokens.completion} tokens")
    if tokens.cached:
        parts.append(f"{tokens.cached} in the prefix cache")
    if tokens.stored:
        parts.append(f"{tokens.stored} stored")
    return ", ".join(parts)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)
