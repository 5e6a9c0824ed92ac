"""Patterns as functions of product coordinates: how strongly a second tone shows at each pixel."""

from collections.abc import Callable

import numpy as np

from mllm_srec.finetune.shop.drawing.sketch import Colour, Plane

BASES: dict[str, Colour] = {
    "black": (40, 40, 45),
    "white": (248, 248, 245),
    "grey": (134, 137, 142),
    "brown": (124, 76, 42),
    "red": (214, 34, 42),
    "orange": (246, 126, 22),
    "yellow": (252, 212, 40),
    "green": (46, 150, 62),
    "turquoise": (34, 190, 188),
    "blue": (34, 82, 204),
    "purple": (122, 54, 172),
    "pink": (248, 142, 188),
}
FIGURES: dict[str, Colour] = {
    "black": (236, 236, 240),
    "white": (112, 116, 128),
    "grey": (52, 54, 60),
    "brown": (244, 224, 198),
    "red": (255, 236, 232),
    "orange": (255, 246, 230),
    "yellow": (164, 104, 0),
    "green": (232, 252, 230),
    "turquoise": (238, 255, 255),
    "blue": (228, 238, 255),
    "purple": (244, 230, 255),
    "pink": (176, 36, 100),
}
"""The tone of the pattern on each colour: much lighter or darker, never another colour."""

_EDGE = np.float32(0.022)
"""Half width in product units over which a pattern's edge fades: about a pixel."""


def figure(name: str, u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    """Lay a pattern over product coordinates `u` and `v`, both (H, W); values 0 to 1, (H, W).

    Each pattern keeps to a scale and a direction of its own: that is what makes them distinct in
    a small picture, where a star and a dot of one size are the same blot.
    """
    period = np.float32(_PERIODS[name] * rng.uniform(0.92, 1.08))
    turn = np.radians(rng.uniform(-5, 5))
    shift = rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, along = cos * u + sin * v, cos * v - sin * u
    return _FIGURES[name](across / period + shift[0], along / period + shift[1], _EDGE / period)


def _plain(u: Plane, v: Plane, edge: np.float32) -> Plane:
    return np.zeros_like(u)


def _striped(u: Plane, v: Plane, edge: np.float32) -> Plane:
    return _below(np.abs(_wave(v)), 0.2, edge)


def _checked(u: Plane, v: Plane, edge: np.float32) -> Plane:
    bands = [_below(np.abs(_wave(part)), 0.22, edge) for part in (u, v)]
    return np.float32(0.5) * (bands[0] + bands[1])


def _zigzag(u: Plane, v: Plane, edge: np.float32) -> Plane:
    tooth = np.float32(1.1) * np.abs(_wave(u))
    return _below(np.abs(_wave(v + tooth)), 0.17, edge)


def _dotted(u: Plane, v: Plane, edge: np.float32) -> Plane:
    x, y = _hexagonal(u, v)
    return _below(np.hypot(x, y), 0.27, edge)


def _starred(u: Plane, v: Plane, edge: np.float32) -> Plane:
    x, y = _hexagonal(u, v)
    # A five-pointed star: the radius falls from the tip (1) to the notch (.42) and back.
    angle = np.abs(np.mod(np.arctan2(x, -y) / (2 * np.pi / 5) + 0.5, 1) - 0.5) * 2
    radius = 0.42 / (0.42 + 0.58 * angle**0.75)
    outside = (np.hypot(x, y) - 0.46 * radius).astype(np.float32)
    return _below(outside, 0.0, edge)


_PERIODS = {
    "plain": 1.0, "striped": 0.3, "dotted": 0.25, "checked": 0.36, "zigzag": 0.36, "starred": 0.52,
}  # fmt: skip
"""Product units after which each pattern repeats."""
_FIGURES: dict[str, Callable[[Plane, Plane, np.float32], Plane]] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "zigzag": _zigzag,
    "starred": _starred,
}


def _wave(value: Plane) -> Plane:
    """Measure the signed distance to the nearest whole number, -.5 to .5."""
    distance: Plane = (value - np.round(value)).astype(np.float32)
    return distance


def _hexagonal(u: Plane, v: Plane) -> tuple[Plane, Plane]:
    """Give the place relative to the nearest node of rows that stand shifted by a half."""
    row = np.round(v / np.float32(0.87)).astype(np.float32)
    shifted = (u + np.float32(0.5) * np.mod(row, 2)).astype(np.float32)
    return _wave(shifted), v - row * np.float32(0.87)


def _below(value: Plane, limit: float, edge: np.float32) -> Plane:
    """Fade from 1 where `value` is below `limit` to 0 above."""
    faded: Plane = np.clip((np.float32(limit) - value) / edge + np.float32(0.5), 0, 1)
    return faded
