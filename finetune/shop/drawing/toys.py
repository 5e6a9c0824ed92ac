"""The products of the department toys."""

import numpy as np

from mllm_srec.finetune.shop.drawing.shapes import (
    arc,
    blob,
    box,
    curve,
    line,
    oval,
    polygon,
)
from mllm_srec.finetune.shop.drawing.sketch import Sketch


def train(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a steam engine that drives to the right."""
    puff = rng.uniform(0.13, 0.18)
    sketch.part((238, 240, 242), oval(0.34, -0.84, puff), oval(0.14, -0.9, puff * 1.2), alpha=0.85)
    sketch.part("dark", polygon((0.38, -0.3), (0.34, -0.68), (0.66, -0.68), (0.62, -0.3)))
    sketch.part("gold", blob((-0.06, -0.3), (-0.02, -0.46), (0.14, -0.46), (0.18, -0.3)))
    sketch.body(box(-0.3, -0.34, 0.84, 0.36, 0.14))
    sketch.body(box(-0.9, -0.72, -0.2, 0.36, 0.04), shade=0.9)
    sketch.part("dark", box(-0.98, -0.84, -0.12, -0.68, 0.05))
    sketch.part("glass", box(-0.74, -0.56, -0.36, -0.22, 0.05))
    sketch.part("dark", box(-0.94, 0.3, 0.9, 0.44, 0.03))
    sketch.part("dark", polygon((0.82, 0.36), (1.02, 0.72), (0.7, 0.72)))
    for x, radius in ((-0.62, 0.27), (0.04, 0.2), (0.5, 0.2)):
        sketch.part("dark", oval(x, 0.78 - radius, radius))
        sketch.part("gold", oval(x, 0.78 - radius, radius * 0.55))
    sketch.anchor(0.3, 0.02, 0.25)


def robot(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a tin robot with antenna, arms and legs."""
    wide = rng.uniform(0.42, 0.5)
    sketch.part("steel", line((0, -0.7), (0, -0.92), width=0.05))
    sketch.part((226, 60, 60), oval(0, -0.95, 0.08))
    for side in (-1, 1):
        sketch.part("steel", line((side * 0.5, -0.06), (side * 0.78, 0.28), width=0.13))
        sketch.part("dark", arc(side * 0.82, 0.4, 0.11, 0.11, 140, 400, 0.08))
        sketch.part("steel", line((side * 0.22, 0.5), (side * 0.22, 0.84), width=0.15))
        sketch.part("dark", box(side * 0.24 - 0.19, 0.8, side * 0.24 + 0.19, 0.96, 0.06))
    sketch.body(box(-0.56, -0.16, 0.56, 0.64, 0.08))
    sketch.body(box(-wide, -0.74, wide, -0.2, 0.1), plain=True)
    sketch.part("dark", box(-wide + 0.08, -0.64, wide - 0.08, -0.36, 0.1))
    for side in (-1, 1):
        sketch.flat((150, 240, 255), oval(side * 0.17, -0.5, 0.09))
    sketch.flat("pale", line((-0.16, -0.28), (0.16, -0.28), width=0.05))
    sketch.anchor(0.22, 0.3, 0.25)


def teddy(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a sitting teddy bear."""
    ear = rng.uniform(0.17, 0.21)
    for side in (-1, 1):
        sketch.body(oval(side * 0.36, -0.8, ear))
        sketch.part("tan", oval(side * 0.36, -0.78, ear * 0.55))
        sketch.body(oval(side * 0.58, 0.16, 0.18, 0.34, side * -38), shade=0.92)
    sketch.body(oval(0, 0.3, 0.52, 0.54))
    for side in (-1, 1):
        sketch.body(oval(side * 0.44, 0.74, 0.28, 0.24), shade=0.95)
        sketch.part("tan", oval(side * 0.48, 0.76, 0.15, 0.14))
    sketch.body(oval(0, -0.46, 0.48, 0.44))
    sketch.part("pale", oval(0, -0.32, 0.22, 0.17))
    sketch.flat(
        "dark",
        oval(0, -0.4, 0.08, 0.055),
        curve((-0.1, -0.26), (0, -0.22), (0.1, -0.26), width=0.035),
    )
    for side in (-1, 1):
        sketch.flat("dark", oval(side * 0.19, -0.54, 0.06))
        sketch.flat((255, 255, 255), oval(side * 0.19 + 0.02, -0.56, 0.02))
    sketch.anchor(0.0, 0.26, 0.26)


def kite(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a kite with spars and a tail of bows."""
    sway = rng.uniform(-0.12, 0.12)
    tail = ((0, 0.5), (0.2 + sway, 0.68), (-0.08, 0.82), (0.16 + sway, 1.04))
    sketch.part("dark", curve(*tail, width=0.035))
    for x, y in tail[1:]:
        bow = polygon(
            (x, y), (x - 0.13, y - 0.09), (x - 0.13, y + 0.09), (x, y), (x + 0.13, y - 0.09),
            (x + 0.13, y + 0.09),
        )  # fmt: skip
        sketch.body(bow, plain=True)
    wide = rng.uniform(0.66, 0.76)
    sketch.body(polygon((0, -1.0), (wide, -0.34), (0, 0.56), (-wide, -0.34)))
    sketch.flat(
        "wood",
        line((0, -0.96), (0, 0.52), width=0.045),
        line((-wide, -0.34), (wide, -0.34), width=0.045),
    )
    sketch.anchor(0.2, 0.0, 0.25)


def drum(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a drum with two sticks on it."""
    deep = rng.uniform(0.5, 0.62)
    sketch.body(
        polygon((-0.8, -0.2), (0.8, -0.2), (0.8, deep), (-0.8, deep)), oval(0, deep, 0.8, 0.28)
    )
    sketch.part("gold", arc(0, deep, 0.8, 0.28, 0, 180, 0.11))
    sketch.part("gold", oval(0, -0.24, 0.84, 0.32))
    sketch.part("pale", oval(0, -0.27, 0.76, 0.26))
    for side in (-1, 1):
        sketch.part("wood", line((side * 0.78, -0.82), (side * -0.16, -0.26), width=0.075))
        sketch.part("wood", oval(side * -0.18, -0.25, 0.08))
    sketch.anchor(0.0, deep - 0.14, 0.26)


def puzzle(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint one piece of a jigsaw, two knobs out and two in."""
    knob = rng.uniform(0.18, 0.22)
    sketch.body(
        box(-0.62, -0.5, 0.62, 0.74, 0.04),
        oval(0.0, -0.66, knob),
        oval(0.8, 0.12, knob),
        box(-0.09, -0.6, 0.09, -0.4),
        box(0.5, 0.03, 0.74, 0.21),
        cut=(
            oval(-0.5, 0.12, knob),
            box(-0.7, 0.03, -0.5, 0.21),
            oval(0.0, 0.62, knob),
            box(-0.09, 0.6, 0.09, 0.8),
        ),
    )
    sketch.anchor(0.14, 0.04, 0.26)


def blocks(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint three building blocks, one on two."""
    shift = rng.uniform(-0.1, 0.1)
    for x, y in ((-0.46, 0.44), (0.42, 0.44), (shift - 0.02, -0.36)):
        half, deep = 0.4, 0.16
        sketch.body(
            polygon(
                (x - half, y - half),
                (x - half + deep, y - half - deep),
                (x + half + deep, y - half - deep),
                (x + half, y - half),
            ),
            plain=True,
            shade=1.12,
        )
        sketch.body(
            polygon(
                (x + half, y - half),
                (x + half + deep, y - half - deep),
                (x + half + deep, y + half - deep),
                (x + half, y + half),
            ),
            plain=True,
            shade=0.7,
        )
        sketch.body(box(x - half, y - half, x + half, y + half, 0.04))
    sketch.anchor(-0.02 + shift, -0.34, 0.25)


def duck(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a bath duck that looks to the right."""
    head = rng.uniform(0.36, 0.41)
    sketch.part(
        "beak", blob((0.52, -0.52), (0.82, -0.5), (0.96, -0.36), (0.74, -0.28), (0.5, -0.3))
    )
    outline = blob(
        (-0.92, -0.14), (-0.7, -0.02), (-0.3, -0.02), (0.1, -0.12), (0.5, -0.06), (0.76, 0.3),
        (0.56, 0.7), (0.0, 0.82), (-0.6, 0.68), (-0.88, 0.3),
    )  # fmt: skip
    sketch.body(outline)
    sketch.body(oval(0.26, -0.48, head))
    sketch.body(
        blob((-0.5, 0.2), (0.0, 0.1), (0.24, 0.24), (0.06, 0.5), (-0.34, 0.54)),
        shade=0.86,
        plain=True,
    )
    sketch.flat("dark", oval(0.4, -0.56, 0.075))
    sketch.flat((255, 255, 255), oval(0.42, -0.59, 0.025))
    sketch.anchor(-0.14, 0.36, 0.26)
