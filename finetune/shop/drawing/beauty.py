"""The products of the department beauty."""

import numpy as np

from mllm_srec.finetune.shop.drawing.shapes import (
    Shape,
    arc,
    blob,
    box,
    curve,
    line,
    oval,
    polygon,
    ring,
)
from mllm_srec.finetune.shop.drawing.sketch import Sketch


def lipstick(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint an open lipstick: case, golden collar, slanted tip."""
    half = rng.uniform(0.36, 0.44)
    tip = polygon(
        (-0.24, -0.2), (-0.24, -0.62), (-0.1, -0.86), (0.12, -0.98), (0.24, -0.84), (0.24, -0.2)
    )
    sketch.body(tip, plain=True)
    sketch.flat((255, 255, 255), line((-0.12, -0.66), (-0.12, -0.3), width=0.06), alpha=0.45)
    sketch.part("gold", box(-0.3, -0.28, 0.3, 0.06, 0.03))
    sketch.body(box(-half, 0.0, half, 0.95, 0.05))
    sketch.part("gold", box(-half - 0.01, 0.0, half + 0.01, 0.09, 0.02))
    sketch.anchor(0.1, -0.02, 0.25)


def perfume(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a scent bottle with an atomiser bulb."""
    wide = rng.uniform(0.56, 0.66)
    sketch.part("gold", curve((-0.1, -0.5), (0.4, -0.62), (0.62, -0.5), width=0.05))
    sketch.part("tan", oval(0.74, -0.42, 0.2, 0.24))
    sketch.part("gold", box(-0.26, -0.62, 0.06, -0.28, 0.04))
    sketch.part("gold", oval(-0.1, -0.74, 0.15))
    flask = blob(
        (-0.24, -0.34), (-wide - 0.06, 0.2), (-wide, 0.78), (-0.1, 0.86), (wide - 0.2, 0.78),
        (wide - 0.14, 0.2), (0.04, -0.34),
    )  # fmt: skip
    sketch.body(flask)
    sketch.flat(
        (255, 255, 255),
        curve((-wide + 0.1, 0.56), (-wide + 0.06, 0.24), (-0.38, -0.02), width=0.07),
        alpha=0.5,
    )
    sketch.anchor(-0.06, 0.42, 0.27)


def mirror(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a hand mirror with a broad frame."""
    wide = rng.uniform(0.66, 0.74)
    sketch.body(box(-0.17, 0.2, 0.17, 1.0, 0.14))
    sketch.body(oval(0, -0.28, wide, 0.7))
    sketch.part("glass", oval(0, -0.28, wide - 0.25, 0.45))
    shine = (
        line((-0.22, -0.22), (0.06, -0.54), width=0.08),
        line((-0.04, -0.12), (0.22, -0.42), width=0.05),
    )
    sketch.flat((255, 255, 255), *shine, alpha=0.8)
    sketch.anchor(0.0, 0.36, 0.24)


def comb(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a comb with long teeth."""
    teeth = int(rng.integers(8, 11))
    prongs: list[Shape] = [
        polygon((x - 0.055, 0.0), (x + 0.055, 0.0), (x + 0.025, 0.68), (x - 0.025, 0.68))
        for x in np.linspace(-0.82, 0.82, teeth)
    ]
    sketch.body(*prongs, plain=True, shade=0.94)
    outline = blob(
        (-0.94, 0.1), (-0.92, -0.4), (-0.4, -0.62), (0.4, -0.62), (0.92, -0.4), (0.94, 0.1),
        (0.4, 0.12), (-0.4, 0.12),
    )  # fmt: skip
    sketch.body(outline)
    sketch.anchor(0.5, -0.2, 0.25)


def cream(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint an open jar of cream, its lid leaning behind it."""
    tall = rng.uniform(0.66, 0.76)
    sketch.part("steel", oval(0.5, -0.36, 0.46, 0.5, 12))
    sketch.flat((150, 156, 166), ring(0.5, -0.36, 0.33, 0.36, width=0.035))
    sketch.body(box(-0.86, -0.12, 0.7, tall, 0.2), oval(-0.08, -0.1, 0.78, 0.22))
    sketch.part("glass", oval(-0.08, -0.16, 0.8, 0.24))
    sketch.part((255, 250, 240), oval(-0.08, -0.18, 0.68, 0.18))
    outline = blob(
        (-0.52, -0.18), (-0.36, -0.34), (-0.14, -0.38), (-0.1, -0.52), (0.06, -0.42), (0.2, -0.32),
        (0.36, -0.18), (-0.08, -0.08),
    )  # fmt: skip
    sketch.part((255, 250, 240), outline)
    sketch.flat(
        (214, 204, 188),
        arc(-0.08, -0.16, 0.34, 0.09, 10, 170, 0.03),
        arc(-0.06, -0.26, 0.2, 0.07, 20, 160, 0.03),
    )
    sketch.anchor(-0.08, 0.34, 0.27)


def polish(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a bottle of nail polish with its long cap."""
    wide = rng.uniform(0.52, 0.6)
    sketch.part("steel", box(-0.22, -0.1, 0.22, 0.1, 0.02))
    outline = blob(
        (-wide + 0.1, 0.06), (-wide, 0.4), (-wide + 0.06, 0.86), (wide - 0.06, 0.86), (wide, 0.4),
        (wide - 0.1, 0.06),
    )  # fmt: skip
    sketch.body(outline)
    sketch.part("dark", polygon((-0.28, -0.04), (-0.18, -0.96), (0.18, -0.96), (0.28, -0.04)))
    sketch.flat((255, 255, 255), line((-0.12, -0.86), (-0.17, -0.16), width=0.05), alpha=0.4)
    sketch.flat(
        (255, 255, 255), line((-wide + 0.12, 0.3), (-wide + 0.14, 0.68), width=0.06), alpha=0.5
    )
    sketch.anchor(0.04, 0.48, 0.27)


def brush(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a powder brush: fan of hair, ferrule, thick handle."""
    spread = rng.uniform(0.52, 0.62)
    hair = blob(
        (-0.34, -0.3), (-spread, -0.7), (-0.38, -0.96), (0, -1.02), (0.38, -0.96), (spread, -0.7),
        (0.34, -0.3),
    )  # fmt: skip
    sketch.part((150, 108, 84), hair)
    for x in np.linspace(-0.8, 0.8, 7):
        strand = line((x * 0.32, -0.3), (x * spread, -0.9), width=0.025)
        sketch.flat((92, 62, 48), strand, alpha=0.6)
    sketch.body(
        blob((-0.4, -0.1), (-0.52, 0.4), (-0.38, 0.92), (0.38, 0.92), (0.52, 0.4), (0.4, -0.1))
    )
    sketch.part("gold", polygon((-0.4, -0.34), (0.4, -0.34), (0.44, -0.04), (-0.44, -0.04)))
    sketch.anchor(0.0, -0.14, 0.25)


def soap(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a bar of soap with an inlay and bubbles."""
    sketch.body(box(-0.86, -0.22, 0.86, 0.62, 0.3), shade=0.78)
    sketch.body(box(-0.86, -0.42, 0.86, 0.44, 0.3))
    sketch.flat((255, 255, 255), ring(0, 0.0, 0.62, 0.27, width=0.04), alpha=0.55)
    places = (
        (-0.62, -0.56, 0.2),
        (-0.34, -0.76, 0.13),
        (0.74, 0.56, 0.17),
        (0.5, 0.72, 0.11),
        (-0.84, 0.5, 0.12),
    )
    for x, y, radius in places:
        radius *= rng.uniform(0.8, 1.2)
        sketch.part((236, 246, 252), oval(x, y, radius), alpha=0.75)
        sketch.flat((255, 255, 255), arc(x, y, radius * 0.65, radius * 0.65, 190, 260, 0.05))
    sketch.anchor(0.46, -0.02, 0.25)
