"""What happens while a graph runs, as typed events: for who streams, and for the chat."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mllm_srec.agent.results import Recommendation


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
class Recommended:
    """The list is complete."""

    result: Recommendation


Event = NodeStarted | NodeEnded | Recommended
Listener = Callable[[Event], None]
"""Told of each event, on the thread of the graph."""


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
