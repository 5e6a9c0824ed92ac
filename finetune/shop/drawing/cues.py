"""One visual cue a style: a badge that lies on the product."""

from collections.abc import Callable

from mllm_srec.finetune.shop.drawing.shapes import (
    Area,
    blob,
    box,
    moved,
    oval,
    polygon,
)
from mllm_srec.finetune.shop.drawing.sketch import Colour, Sketch

_EDGE: Colour = (250, 250, 248)
_INK: Colour = (44, 42, 48)


def cue(sketch: Sketch, style: str, turn: float) -> None:
    """Paint the cue of a style where the product has its anchor, turned by degrees."""
    _CUES[style](sketch, turn)


def _classic(sketch: Sketch, turn: float) -> None:
    """A crest: a navy shield with a golden rim and band."""
    shield = blob(
        (-0.8, -0.9), (0, -0.8), (0.8, -0.9), (0.88, -0.1), (0.55, 0.6), (0, 1.05), (-0.55, 0.6),
        (-0.88, -0.1),
    )  # fmt: skip
    _part(sketch, turn, (232, 190, 84), shield, 1.1)
    _part(sketch, turn, (34, 48, 100), shield, 0.8)
    _flat(
        sketch,
        turn,
        (240, 204, 104),
        polygon((-0.72, -0.3), (-0.6, -0.66), (0.62, 0.2), (0.4, 0.55)),
    )


def _sporty(sketch: Sketch, turn: float) -> None:
    """A bolt on a dark disc."""
    _part(sketch, turn, _EDGE, oval(0, 0, 1.08))
    _part(sketch, turn, _INK, oval(0, 0, 0.93))
    bolt = polygon(
        (0.25, -0.85), (-0.5, 0.12), (-0.06, 0.12), (-0.24, 0.85), (0.52, -0.2), (0.08, -0.2)
    )
    _flat(sketch, turn, (206, 255, 40), bolt)


def _playful(sketch: Sketch, turn: float) -> None:
    """A smiling face."""
    _part(sketch, turn, _INK, oval(0, 0, 1.06))
    _part(sketch, turn, (255, 222, 60), oval(0, 0, 0.94))
    _flat(sketch, turn, _INK, oval(-0.34, -0.28, 0.15, 0.2), oval(0.34, -0.28, 0.15, 0.2))
    mouth = blob((-0.58, 0.12), (0, 0.26), (0.58, 0.12), (0.36, 0.56), (0, 0.7), (-0.36, 0.56))
    _flat(sketch, turn, (150, 30, 40), mouth)


def _elegant(sketch: Sketch, turn: float) -> None:
    """A satin bow."""
    satin: Colour = (236, 206, 196)
    for side in (-1, 1):
        tail = polygon(
            (0, 0.05), (side * 0.35, 0.1), (side * 0.85, 1.0), (side * 0.5, 0.86), (side * 0.3, 1.1)
        )
        _part(sketch, turn, (214, 172, 160), tail)
    for side in (-1, 1):
        loop = blob(
            (0, 0),
            (side * 0.5, -0.62),
            (side * 1.15, -0.66),
            (side * 1.22, 0.1),
            (side * 0.6, 0.42),
        )
        _part(sketch, turn, satin, loop)
        inner = blob(
            (side * 0.35, -0.06), (side * 0.75, -0.3), (side * 0.98, -0.2), (side * 0.8, 0.06)
        )
        _flat(sketch, turn, (186, 128, 120), inner)
    _part(
        sketch,
        turn,
        (246, 224, 214),
        blob((-0.24, -0.26), (0.24, -0.26), (0.26, 0.24), (-0.26, 0.24)),
    )


def _rustic(sketch: Sketch, turn: float) -> None:
    """A twig with leaves on a slice of wood."""
    _part(sketch, turn, (104, 68, 38), oval(0, 0, 1.1))
    _part(sketch, turn, (226, 190, 138), oval(0, 0, 0.94))
    leaf = blob((0, 0), (0.2, -0.3), (0.12, -0.68), (0, -0.92), (-0.12, -0.68), (-0.2, -0.3))
    _flat(
        sketch,
        turn,
        (70, 104, 40),
        moved(leaf, 0, 0.2, size=1.1),
        moved(leaf, 0, 0.36, turn=62),
        moved(leaf, 0, 0.36, turn=-62),
        box(-0.06, 0, 0.06, 0.8),
    )


_CUES: dict[str, Callable[[Sketch, float], None]] = {
    "classic": _classic,
    "sporty": _sporty,
    "playful": _playful,
    "elegant": _elegant,
    "rustic": _rustic,
}


def _placed(sketch: Sketch, turn: float, area: Area, size: float) -> Area:
    x, y, extent = sketch.cue
    return moved(area, x, y, size=size * extent, turn=turn)


def _part(sketch: Sketch, turn: float, tone: Colour, area: Area, size: float = 1.0) -> None:
    sketch.part(tone, _placed(sketch, turn, area, size))


def _flat(sketch: Sketch, turn: float, tone: Colour, *areas: Area) -> None:
    sketch.flat(tone, *(_placed(sketch, turn, area, 1.0) for area in areas))
