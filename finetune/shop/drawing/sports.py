"""The products of the department sports."""

import numpy as np

from mllm_srec.finetune.shop.drawing.shapes import (
    arc,
    blob,
    box,
    curve,
    line,
    moved,
    oval,
    polygon,
    segment,
)
from mllm_srec.finetune.shop.drawing.sketch import Sketch


def ball(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a ball with seams."""
    radius = rng.uniform(0.76, 0.84)
    sketch.body(oval(0, 0, radius))
    seams = (
        curve(
            (-0.55 * radius, -0.83 * radius),
            (-0.2, 0),
            (-0.55 * radius, 0.83 * radius),
            width=0.045,
        ),
        curve(
            (0.55 * radius, -0.83 * radius), (0.2, 0), (0.55 * radius, 0.83 * radius), width=0.045
        ),
        line((-radius, 0), (radius, 0), width=0.045),
    )
    sketch.flat("dark", *seams, alpha=0.85)
    sketch.flat((255, 255, 255), oval(-0.34, -0.46, 0.18, 0.1, -35), alpha=0.45)
    sketch.anchor(0.36, 0.4, 0.26)


def racket(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a table tennis racket and its ball."""
    turn = rng.uniform(20, 36)
    sketch.part("wood", moved(box(-0.13, 0.3, 0.13, 0.98, 0.06), 0, 0, turn=turn))
    face = moved(oval(0, -0.2, 0.66, 0.7), 0, 0, turn=turn)
    throat = moved(
        polygon((-0.46, 0.28), (0.46, 0.28), (0.14, 0.62), (-0.14, 0.62)), 0, 0, turn=turn
    )
    sketch.part("wood", throat)
    below = moved(box(-0.8, 0.31, 0.8, 0.9), 0, 0, turn=turn)
    sketch.body(face, cut=(below,))
    sketch.part("pale", oval(0.68, 0.62, 0.17))
    sketch.anchor(0.18, -0.16, 0.27)


def bicycle(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a track bicycle with disc wheels."""
    radius = rng.uniform(0.42, 0.46)
    for x in (-0.55, 0.55):
        sketch.part("dark", oval(x, 0.34, radius))
        sketch.body(oval(x, 0.34, radius - 0.06))
        sketch.part("steel", oval(x, 0.34, 0.06))
    rear, crank, seat, head, front = (
        (-0.55, 0.34),
        (-0.08, 0.36),
        (-0.24, -0.3),
        (0.36, -0.34),
        (0.55, 0.34),
    )
    for start, end in (
        (rear, crank),
        (rear, seat),
        (crank, seat),
        (crank, head),
        (seat, head),
        (head, front),
    ):
        sketch.body(line(start, end, width=0.1), plain=True, shade=0.8)
    sketch.part("dark", line(seat, (-0.27, -0.46), width=0.06))
    sketch.part("dark", blob((-0.46, -0.52), (-0.27, -0.56), (-0.08, -0.48), (-0.28, -0.44)))
    sketch.part("dark", curve(head, (0.3, -0.58), (0.5, -0.64), (0.58, -0.5), width=0.08))
    sketch.part("steel", oval(*crank, 0.1))
    sketch.part("dark", line((-0.18, 0.5), (0.02, 0.22), width=0.05))
    sketch.anchor(0.0, -0.02, 0.25)


def dumbbell(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a dumbbell with two weights on a steel bar."""
    tall = rng.uniform(0.58, 0.68)
    sketch.part("steel", box(-0.98, -0.08, 0.98, 0.08, 0.06))
    sketch.part("dark", box(-0.26, -0.1, 0.26, 0.1, 0.05))
    for side in (-1, 1):
        outer = sorted((side * 0.66, side * 0.92))
        inner = sorted((side * 0.22, side * 0.7))
        sketch.body(box(outer[0], -tall * 0.72, outer[1], tall * 0.72, 0.09), shade=0.88)
        sketch.body(box(inner[0], -tall, inner[1], tall, 0.12))
    sketch.anchor(0.46, 0.3, 0.25)


def sneaker(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a shoe from the side, the toe to the right."""
    ankle = rng.uniform(-0.62, -0.5)
    outline = blob(
        (-0.9, 0.38), (-0.92, -0.1), (-0.8, ankle), (-0.62, ankle + 0.06), (-0.36, ankle + 0.16),
        (-0.14, ankle), (0.02, ankle + 0.08), (0.3, -0.12), (0.72, 0.06), (0.94, 0.38),
    )  # fmt: skip
    sketch.body(outline)
    sketch.part("pale", blob((0.6, 0.42), (0.64, 0.1), (0.8, 0.14), (0.96, 0.4)))
    sketch.part("pale", box(-0.96, 0.34, 1.0, 0.56, 0.1))
    sketch.flat("dark", line((-0.9, 0.5), (0.92, 0.5), width=0.04), alpha=0.7)
    for step in range(4):
        x, y = 0.02 + 0.14 * step, ankle + 0.2 + 0.115 * step
        sketch.part("pale", line((x - 0.1, y + 0.1), (x + 0.1, y - 0.04), width=0.06))
    sketch.flat(
        "dark",
        blob(
            (-0.78, ankle + 0.03),
            (-0.36, ankle + 0.16),
            (-0.14, ankle + 0.03),
            (-0.4, ankle + 0.08),
        ),
        alpha=0.8,
    )
    sketch.anchor(-0.48, 0.08, 0.24)


def backpack(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a rucksack with a front pocket, a handle and straps."""
    top = rng.uniform(-0.82, -0.74)
    sketch.part("dark", arc(0, top, 0.2, 0.2, 180, 360, 0.07))
    for side in (-1, 1):
        sketch.part(
            "dark",
            curve((side * 0.5, top + 0.3), (side * 0.84, -0.1), (side * 0.74, 0.7), width=0.12),
        )
    outline = blob(
        (-0.62, 0.8), (-0.64, 0.0), (-0.54, top + 0.18), (0, top), (0.54, top + 0.18), (0.64, 0.0),
        (0.62, 0.8), (0, 0.9),
    )  # fmt: skip
    sketch.body(outline)
    sketch.flat("dark", arc(0, 0.0, 0.5, 0.5, 190, 350, 0.045), alpha=0.8)
    sketch.body(box(-0.46, 0.22, 0.46, 0.76, 0.12), shade=0.9)
    sketch.part("steel", line((-0.36, 0.3), (0.36, 0.3), width=0.05))
    sketch.part("gold", line((0.3, 0.3), (0.3, 0.42), width=0.06))
    sketch.anchor(0.0, -0.12, 0.26)


def helmet(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a cycling helmet with vents, visor and strap."""
    sketch.part(
        "dark", curve((-0.5, 0.3), (-0.3, 0.72), (0.05, 0.86), (0.32, 0.7), (0.4, 0.3), width=0.07)
    )
    sketch.part("dark", blob((0.6, 0.1), (1.0, 0.3), (0.98, 0.4), (0.55, 0.36)))
    height = rng.uniform(0.86, 0.96)
    sketch.body(segment(-0.04, 0.3, 0.86, height, 180, 360))
    sketch.part("dark", box(-0.9, 0.26, 0.84, 0.4, 0.06))
    for start, end in (
        ((-0.55, -0.08), (-0.3, -0.4)),
        ((-0.18, -0.02), (-0.02, -0.44)),
        ((0.22, 0.0), (0.26, -0.4)),
    ):
        sketch.flat("dark", line(start, end, width=0.12), alpha=0.9)
    sketch.anchor(0.54, -0.02, 0.24)


def skateboard(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a board from above with the wheels at its sides."""
    turn = rng.uniform(28, 48)
    half = rng.uniform(0.3, 0.36)
    for y in (-0.52, 0.52):
        for side in (-1, 1):
            x = side * (half + 0.03)
            wheel = moved(box(x - 0.1, y - 0.14, x + 0.1, y + 0.14, 0.05), 0, 0, turn=turn)
            sketch.part("pale", wheel)
    sketch.body(moved(box(-half, -1.02, half, 1.02, half * 0.98), 0, 0, turn=turn))
    for y in (-0.52, 0.52):
        for x, row in ((-0.09, -0.07), (0.09, -0.07), (-0.09, 0.07), (0.09, 0.07)):
            sketch.part("steel", moved(oval(x, y + row, 0.035), 0, 0, turn=turn))
    sketch.anchor(0.0, 0.0, 0.26)
