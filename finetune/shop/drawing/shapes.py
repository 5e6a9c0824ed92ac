"""Outlines of parts of a product, in product coordinates.

A product fills about -1 to 1 both ways, x to the right and y down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Corners of an outline, (n, 2)."""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Area:
    """What a closed outline holds."""

    points: Points


@dataclass(frozen=True, slots=True)
class Line:
    """A line of some width with round ends."""

    points: Points
    width: float


Shape = Area | Line


def oval(x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> Area:
    """Outline an ellipse around a centre, turned by degrees; a circle without `ry`."""
    return Area(_ellipse(x, y, rx, rx if ry is None else ry, 0.0, 360.0, turn))


def sector(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Area:
    """Outline a slice of an ellipse between two angles in degrees; 0 is right, 90 is down."""
    return Area(np.vstack([[x, y], _ellipse(x, y, rx, ry, start, end)]))


def segment(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Area:
    """Outline what lies between an ellipse's arc and the straight line that joins its ends."""
    return Area(_ellipse(x, y, rx, ry, start, end))


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Area:
    """Outline a rectangle with rounded corners."""
    if radius == 0:
        return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    corners = ((x1, y0, 270), (x1, y1, 0), (x0, y1, 90), (x0, y0, 180))
    arcs = [
        _ellipse(
            x + (radius if x == x0 else -radius),
            y + (radius if y == y0 else -radius),
            radius,
            radius,
            start,
            start + 90,
        )
        for x, y, start in corners
    ]
    return Area(np.vstack(arcs))


def polygon(*points: Point) -> Area:
    """Outline straight from corner to corner."""
    return Area(np.array(points, dtype=float))


def blob(*points: Point) -> Area:
    """Outline a smooth closed curve through points."""
    return Area(_smooth(points, closed=True))


def line(*points: Point, width: float = 0.06) -> Line:
    """Draw straight from point to point."""
    return Line(np.array(points, dtype=float), width)


def curve(*points: Point, width: float = 0.06) -> Line:
    """Draw a smooth line through points."""
    return Line(_smooth(points, closed=False), width)


def ring(x: float, y: float, rx: float, ry: float | None = None, width: float = 0.06) -> Line:
    """Draw the rim of an ellipse."""
    return Line(_ellipse(x, y, rx, rx if ry is None else ry, 0.0, 360.0), width)


def arc(
    x: float, y: float, rx: float, ry: float, start: float, end: float, width: float = 0.06
) -> Line:
    """Draw a part of an ellipse's rim between two angles in degrees."""
    return Line(_ellipse(x, y, rx, ry, start, end), width)


def moved(shape: Area, x: float, y: float, *, size: float = 1.0, turn: float = 0.0) -> Area:
    """Turn by degrees, scale and shift an outline."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return Area(size * shape.points @ np.array([[cos, sin], [-sin, cos]]) + (x, y))


def _ellipse(
    x: float, y: float, rx: float, ry: float, start: float, end: float, turn: float = 0.0
) -> Points:
    count = max(6, round(abs(end - start) / 7))
    angles = np.radians(np.linspace(start, end, count + 1))
    points = np.column_stack([rx * np.cos(angles), ry * np.sin(angles)])
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
    return turned


def _smooth(points: Sequence[Point], *, closed: bool) -> Points:
    """Lay a Catmull-Rom curve through points, eight steps a piece."""
    knots = np.array(points, dtype=float)
    if closed:
        padded = np.vstack([knots[-1], knots, knots[:2]])
    else:
        padded = np.vstack([knots[0], knots, knots[-1]])
    before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, 8, endpoint=False)[None, :, None]
    before, start, end, after = (part[:, None, :] for part in (before, start, end, after))
    pieces = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    laid: Points = pieces.reshape(-1, 2)
    return laid if closed else np.vstack([laid, knots[-1]])
