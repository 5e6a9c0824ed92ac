"""What happens while a graph runs, as typed events: for who streams, and for the chat."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from mllm_srec.agent.conversation.results import TurnItem
from mllm_srec.agent.results import Recommendation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node began."""

    node: str


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """A node is done."""

    node: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """The list is known, in its order; its reasons are still being written."""

    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """The answer of a turn as far as it stands, from tools alone; the next one takes its place."""

    text: str
    items: tuple[TurnItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommended:
    """The list is complete."""

    result: Recommendation


Event = NodeStarted | NodeEnded | Ranked | PartialAnswer | Recommended
Listener = Callable[[Event], None]
"""Told of each event, on the thread of the graph."""
Begin = Callable[[Listener], Future[T]]
"""Begins work on the thread of the graph; it tells the listener of its events."""


def follow(begin: Begin[T]) -> Iterator[Event | T]:
    """Begin work and yield its events; the last thing is what the work returns.

    Leaving the iteration early, by Ctrl-C too, stops the work.
    """
    events: SimpleQueue[Event | None] = SimpleQueue()
    work = begin(events.put)
    work.add_done_callback(lambda _: events.put(None))
    try:
        while (event := events.get()) is not None:
            yield event
        yield work.result()
    finally:
        work.cancel()


async def afollow(begin: Begin[T]) -> AsyncGenerator[Event | T, None]:
    """`follow` for asynchronous callers, from any loop."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event | None] = asyncio.Queue()

    def tell(event: Event | None) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    work = begin(tell)
    work.add_done_callback(lambda _: tell(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        yield work.result()
    finally:
        work.cancel()


def tell_of_node(tell: Listener, task: Mapping[str, Any], started: dict[str, float]) -> None:
    """Turn a chunk of LangGraph's stream mode `tasks` into an event.

    Args:
        tell: Told of the event.
        task: A task that begins (it has an input), or one that is done.
        started: Task id to when it began; kept by the caller between chunks.
    """
    if "input" in task:
        started[task["id"]] = time.perf_counter()
        tell(NodeStarted(task["name"]))
    else:
        tell(NodeEnded(task["name"], time.perf_counter() - started[task["id"]]))
