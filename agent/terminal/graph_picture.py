"""The recommendation graph as shapes with coordinates: every edge, and the path that was taken."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NODES = (
    "load_user",
    "fuse_items",
    "summarize_preferences",
    "profile_user",
    "retrieve_candidates",
    "score_targets",
    "explain",
)
EDGES = (
    ("load_user", "fuse_items"),
    ("load_user", "retrieve_candidates"),
    ("fuse_items", "summarize_preferences"),
    ("summarize_preferences", "summarize_preferences"),
    ("summarize_preferences", "profile_user"),
    ("profile_user", "retrieve_candidates"),
    ("retrieve_candidates", "score_targets"),
    ("score_targets", "explain"),
)
"""Edges between the nodes; a test holds both to the graph itself."""
ROW = 56
"""Units between two nodes, which stand below each other so that a phone shows them."""
WIDTH, HEIGHT = 220, 36


@dataclass(frozen=True, slots=True)
class Box:
    """A node."""

    name: str
    x: int
    y: int
    passes: int
    anchor: str
    """Of its part of the page, empty for a node that did not run."""


@dataclass(frozen=True, slots=True)
class Line:
    """An edge."""

    path: str
    """As the `d` of an SVG path."""
    passes: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A graph ready to be written as SVG."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: int
    height: int


def draw(path: Sequence[str], anchors: Mapping[str, str]) -> Drawn:
    """Draw the graph with the path taken.

    Args:
        path: Nodes in the order in which they ran.
        anchors: Node to its part of the page.
    """
    known = set(path) <= set(NODES)
    names = NODES if known else tuple(dict.fromkeys(path))
    taken = Counter(itertools.pairwise(path))
    edges = EDGES if known else tuple(taken)
    runs = Counter(path)
    row = {name: index for index, name in enumerate(names)}
    boxes = tuple(
        Box(name, 40, 10 + ROW * index, runs[name], anchors.get(name, ""))
        for name, index in row.items()
    )
    lines = tuple(Line(_edge(row[one], row[other]), taken[one, other]) for one, other in edges)
    return Drawn(boxes, lines, WIDTH + 80, 20 + ROW * len(names))


def _edge(start: int, stop: int) -> str:
    """From the bottom of a box to the top of the next, or around on the side."""
    middle, right = 40 + WIDTH // 2, 40 + WIDTH
    top, bottom = 10 + ROW * stop, 10 + ROW * start + HEIGHT
    if stop == start + 1:
        return f"M {middle} {bottom} V {top - 6}"
    from_y, to_y = bottom - HEIGHT // 3, top + HEIGHT // 3
    if start == stop:
        out = right + 30
        return f"M {right} {from_y + 4} C {out} {from_y + 12} {out} {to_y - 12} {right + 6} {to_y}"
    return f"M 40 {from_y} C 0 {from_y} 0 {to_y} 34 {to_y}"
