"""The chat on a terminal: pure, turns in, rich renderables out."""

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.conversation.results import TurnItem, TurnResult
from mllm_srec.agent.events import Event, NodeEnded, NodeStarted, PartialAnswer
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.inspection.view import trace_head
from mllm_srec.agent.inspection.waterfall import waterfall
from mllm_srec.agent.terminal.item_pictures import Pictures
from mllm_srec.agent.terminal.pieces import to_copy
from mllm_srec.agent.untrusted import visible, words
from mllm_srec.store.home import Home
from mllm_srec.store.threads import KeptTurn, Thread
from mllm_srec.store.traces import TraceStore

PICTURES = 5
"""Pictures of one answer at most, in one row."""


class Ticker:
    """A turn while it is worked on: its answer so far, and its nodes in one line."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._done: dict[str, float] = {}
        self._running: list[str] = []
        self._so_far: list[RenderableType] = []

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, NodeStarted):
            self._running.append(event.node)
        elif isinstance(event, NodeEnded):
            self._running.remove(event.node)
            self._done[event.node] = self._done.get(event.node, 0.0) + event.seconds
        elif isinstance(event, PartialAnswer):
            self._so_far = _lines(event.text, event.items)

    @property
    def so_far(self) -> Group:
        """The answer so far."""
        return Group(*self._so_far)

    def __rich__(self) -> Group:
        """The answer so far, and what runs; drawn from another thread than the events come on."""
        began = f"{time.monotonic() - self._began:4.1f} s  "
        text = Text(began, "dim", no_wrap=True, overflow="ellipsis")
        for name in self._running[-1:]:
            text.append(name, "bold cyan")
            text.append(" …  ", "cyan")
        # The latest first: a narrow screen cuts off the oldest.
        for name, took in reversed(list(self._done.items())):
            text.append(f"{name} {took:.1f}  ", "dim")
        text.rstrip()
        return Group(*self._so_far, text)


def turn_view(result: TurnResult, pictures: Pictures) -> RenderableType:
    """An answer: its lead, its items with their pictures in a row, and what is said besides."""
    lines = _lines(result.answer, result.items)
    if row := _pictures(result, pictures):
        lead = not _is_item(result.answer.split("\n")[0], result.items)
        lines.insert(1 if lead else 0, row)
    return Group(*lines)


def _lines(answer: str, items: Sequence[TurnItem]) -> list[RenderableType]:
    """The lines of an answer: items stand out, what is said of them steps back."""
    lead, *rest = answer.split("\n")
    if rest and not _is_item(lead, items):
        return [words(lead, "bold"), *(_line(line, items) for line in rest)]
    return [_line(line, items) for line in (lead, *rest)]


def _line(line: str, items: Sequence[TurnItem]) -> RenderableType:
    if line.startswith("   "):
        return Padding(words(line, "dim"), (0, 0, 0, 3), expand=False)
    return words(line, "bold cyan" if _is_item(line, items) else "")


def _is_item(line: str, items: Sequence[TurnItem]) -> bool:
    ids = "|".join(re.escape(item.item_id) for item in items)
    return bool(items) and re.search(rf" \[({ids})\](, [\d.]+)?$", line) is not None


def _pictures(result: TurnResult, pictures: Pictures) -> RenderableType | None:
    if pictures.way == "none" or not result.items:
        return None
    shown = result.items[:PICTURES]
    table = Table.grid(padding=(0, 2))
    table.add_row(*(pictures.of(item.item_id) for item in shown))
    if "\n1. " in result.answer:
        table.add_row(*(Text(str(place), "dim") for place in range(1, len(shown) + 1)))
    return table


def threads_table(
    threads: Sequence[Thread], here: str = "", *, with_users: bool = False
) -> RenderableType:
    """Conversations, newest first; the one that goes on here is marked."""
    if not threads:
        return Text("no conversations yet")
    table = Table.grid(padding=(0, 2))
    for thread in threads:
        table.add_row(
            Text("●" if thread.thread_id == here else " ", "green"),
            Text(thread.thread_id, "bold"),
            Text(f"{datetime.fromtimestamp(thread.started, UTC):%Y-%m-%d %H:%M}", "dim"),
            Text(turns_text(thread.turns)),
            *([words(thread.user_id)] if with_users else []),
            Text(visible(thread.first), "dim", no_wrap=True, overflow="ellipsis"),
        )
    return table


def turns_text(count: int) -> str:
    """So many turns: `1 turn`."""
    return f"{count} turn{'' if count == 1 else 's'}"


def trace_view(home: Home, trace_id: str) -> RenderableType:
    """What a turn did and how its time went, on a screen; and the command that shows the rest."""
    with TraceStore.open(home.traces_file, create=False) as traces:
        trace = read_trace(traces.spans(trace_id))
    more = shlex.join(("srec", "trace", "show", trace_id[:12], "--home", str(home.path)))
    rest = to_copy(f"prompts, answers, scores: {more}", "dim")
    return Group(trace_head(trace), Text(), waterfall(trace), rest)


def export_text(turns: Sequence[KeptTurn], user: str) -> str:
    """A conversation as Markdown; what was said is quoted, so that it cannot be markup."""
    parts = [f"# Conversation of {visible(user)}"]
    for turn in turns:
        answer = turn.result["answer"] if turn.result else "(no answer)"
        parts.append(f"## {turn.turn}\n\n{said_line(turn.said)}\n\n{_indented(answer)}")
    return "\n\n".join(parts) + "\n"


def said_line(said: Mapping[str, Any]) -> str:
    """What was said in a turn, as a quotation in one line; a picture is told of."""
    given = "(a picture)" if said["picture"] else ""
    return f"> {' '.join(filter(None, (given, visible(said['text']))))}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in visible(text, lines=True).split("\n"))
