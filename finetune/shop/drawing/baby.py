"""The products of the department baby."""

import numpy as np

from mllm_srec.finetune.shop.drawing.shapes import (
    arc,
    blob,
    box,
    curve,
    line,
    oval,
    polygon,
    ring,
    sector,
    segment,
)
from mllm_srec.finetune.shop.drawing.sketch import Sketch


def stroller(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a pram: basket, hood, handle and two wheels."""
    wheel = rng.uniform(0.22, 0.27)
    sketch.part("steel", curve((0.55, 0.0), (0.82, -0.42), (0.98, -0.46), width=0.09))
    sketch.part("dark", line((0.84, -0.45), (1.0, -0.45), width=0.12))
    sketch.part("steel", line((-0.4, 0.2), (0.42, 0.7), width=0.06))
    sketch.part("steel", line((0.4, 0.2), (-0.42, 0.7), width=0.06))
    sketch.body(sector(-0.02, 0.0, 0.72, rng.uniform(0.74, 0.84), 180, 282), shade=0.92)
    sketch.body(segment(-0.06, -0.02, 0.68, 0.52, 0, 180))
    sketch.part("pale", line((-0.74, -0.02), (0.62, -0.02), width=0.08))
    for x in (-0.45, 0.45):
        sketch.part("dark", oval(x, 0.7, wheel))
        sketch.part("steel", oval(x, 0.7, wheel * 0.6))
        sketch.part("dark", oval(x, 0.7, 0.05))
    sketch.anchor(0.1, 0.22, 0.25)


def bottle(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a feeding bottle with teat, collar and marks."""
    half = rng.uniform(0.38, 0.46)
    outline = blob(
        (-0.26, -0.52), (-0.14, -0.72), (-0.1, -0.95), (0, -1.0), (0.1, -0.95), (0.14, -0.72),
        (0.26, -0.52),
    )  # fmt: skip
    sketch.part("amber", outline)
    sketch.body(box(-half, -0.3, half, 0.92, 0.16))
    sketch.part("pale", box(-half + 0.04, -0.56, half - 0.04, -0.26, 0.06))
    for y in (-0.05, 0.15, 0.35):
        sketch.flat("pale", line((half - 0.2, y), (half - 0.06, y), width=0.045))
    sketch.flat(
        (255, 255, 255), line((-half + 0.1, -0.1), (-half + 0.1, 0.7), width=0.05), alpha=0.5
    )
    sketch.anchor(0.0, 0.58, 0.27)


def bib(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a bib with a neck opening, a trim and ties."""
    drop = rng.uniform(0.62, 0.72)
    for side in (-1, 1):
        sketch.part(
            "pale",
            curve((side * 0.42, -0.62), (side * 0.5, -0.85), (side * 0.8, -0.95), width=0.07),
        )
    neck = oval(0, -0.52, 0.34, 0.4)
    outer = blob(
        (-0.5, -0.75), (-0.75, -0.2), (-0.7, 0.45), (0, drop + 0.2), (0.7, 0.45), (0.75, -0.2),
        (0.5, -0.75), (0, -0.7),
    )  # fmt: skip
    sketch.part("pale", outer, cut=(oval(0, -0.56, 0.28, 0.36),))
    inner = blob(
        (-0.47, -0.66), (-0.66, -0.18), (-0.62, 0.4), (0, drop + 0.11), (0.62, 0.4), (0.66, -0.18),
        (0.47, -0.66), (0, -0.62),
    )  # fmt: skip
    sketch.body(inner, cut=(neck,))
    sketch.anchor(0.0, 0.42, 0.27)


def pacifier(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a dummy: teat, shield, knob and ring."""
    wide = rng.uniform(0.8, 0.9)
    sketch.part(
        "amber", blob((-0.16, -0.3), (-0.26, -0.72), (0, -0.96), (0.26, -0.72), (0.16, -0.3))
    )
    outline = blob(
        (-wide, -0.12), (-0.52, -0.52), (0, -0.4), (0.52, -0.52), (wide, -0.12), (0.6, 0.36),
        (0, 0.34), (-0.6, 0.36),
    )  # fmt: skip
    sketch.body(outline)
    sketch.body(ring(0, 0.5, 0.36, 0.38, width=0.15), plain=True, shade=0.85)
    sketch.part("pale", oval(0, 0.08, 0.2))
    sketch.anchor(-0.5, -0.08, 0.25)


def crib(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a cot: posts, rail and bars of wood, a panel in the item's colour."""
    posts = 0.82
    sketch.part("wood", curve((-0.95, 0.72), (-0.5, 0.88), (0.5, 0.88), (0.95, 0.72), width=0.09))
    for x in np.linspace(-0.6, 0.6, 6):
        sketch.part("wood", line((x, -0.5), (x, 0.0), width=0.055))
    sketch.body(box(-posts, -0.12, posts, 0.72, 0.05))
    sketch.part("wood", box(-posts, -0.6, posts, -0.48, 0.05))
    for side in (-1, 1):
        sketch.part("wood", box(side * posts - 0.09, -0.75, side * posts + 0.09, 0.82, 0.06))
        sketch.part("wood", oval(side * posts, -0.8, rng.uniform(0.11, 0.14)))
    sketch.anchor(0.0, 0.3, 0.27)


def rattle(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a rattle: a ball on a handle that ends in a ring, with a band and beads."""
    head = rng.uniform(0.5, 0.56)
    sketch.part("pale", line((0, 0.05), (0, 0.6), width=0.15))
    sketch.part("pale", ring(0, 0.74, 0.19, width=0.11))
    sketch.body(oval(0, -0.36, head))
    sketch.part("pale", oval(0, 0.22, 0.22, 0.09))
    for side in (-1, 1):
        sketch.part("gold", oval(side * (head + 0.04), -0.36, 0.1, 0.14))
        sketch.flat(
            "dark",
            arc(0, -0.36, head + 0.2, head + 0.2, 90 * side - 125, 90 * side - 95, 0.035),
            alpha=0.6,
        )
    sketch.anchor(0.06, 0.12, 0.25)


def romper(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a bodysuit with short sleeves and snaps."""
    sleeve = rng.uniform(0.0, 0.1)
    outline = polygon(
        (-0.28, -0.78), (-0.5, -0.76), (-0.92, -0.42 + sleeve), (-0.72, -0.12 + sleeve),
        (-0.5, -0.28), (-0.5, 0.35), (-0.58, 0.5), (-0.3, 0.62), (-0.2, 0.88), (0.2, 0.88),
        (0.3, 0.62), (0.58, 0.5), (0.5, 0.35), (0.5, -0.28), (0.72, -0.12 + sleeve),
        (0.92, -0.42 + sleeve), (0.5, -0.76), (0.28, -0.78),
    )  # fmt: skip
    sketch.body(outline, cut=(oval(0, -0.82, 0.27, 0.22),))
    sketch.part("pale", arc(0, -0.8, 0.28, 0.23, 0, 180, 0.07))
    for side in (-1, 1):
        sketch.part(
            "pale", line((side * 0.9, -0.4 + sleeve), (side * 0.71, -0.14 + sleeve), width=0.07)
        )
        sketch.part(
            "pale", curve((side * 0.56, 0.48), (side * 0.34, 0.6), (side * 0.22, 0.84), width=0.07)
        )
    for x in (-0.1, 0.0, 0.1):
        sketch.part("steel", oval(x, 0.8, 0.04))
    sketch.anchor(0.12, -0.14, 0.25)


def blanket(sketch: Sketch, rng: np.random.Generator) -> None:
    """Paint a blanket with fringes and one corner folded over."""
    fold = rng.uniform(0.4, 0.52)
    for x in np.linspace(-0.76, 0.76, 13):
        sketch.part("pale", line((x, 0.68), (x + rng.uniform(-0.03, 0.03), 0.9), width=0.05))
    outline = blob(
        (-0.82, -0.7), (-0.4, -0.76), (0.2, -0.72), (0.84 - fold, -0.74), (0.86, -0.72 + fold),
        (0.84, 0.2), (0.86, 0.7), (0.3, 0.74), (-0.3, 0.7), (-0.84, 0.74), (-0.86, 0.2),
        (-0.82, -0.3),
    )  # fmt: skip
    sketch.body(outline)
    sketch.part(
        "pale",
        blob(
            (0.84 - fold, -0.76),
            (0.9 - fold, -0.5),
            (0.8 - fold, -0.68 + fold),
            (0.88, -0.7 + fold),
        ),
    )
    sketch.flat("pale", line((-0.78, 0.58), (0.78, 0.58), width=0.05), alpha=0.8)
    sketch.anchor(-0.3, 0.12, 0.28)
