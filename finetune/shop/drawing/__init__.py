"""Product pictures, drawn: outlines, colour, pattern, light, surroundings, disturbances."""

from collections.abc import Callable
from zlib import crc32

import numpy as np
from PIL import Image

from mllm_srec.finetune.shop.drawing import baby, beauty, sports, toys
from mllm_srec.finetune.shop.drawing.cues import cue
from mllm_srec.finetune.shop.drawing.patterns import BASES, FIGURES, figure
from mllm_srec.finetune.shop.drawing.scene import background, disturb, ground_shadow
from mllm_srec.finetune.shop.drawing.sketch import PIXELS, Colour, Placement, Sketch
from mllm_srec.finetune.shop.vocabulary import TYPES, ItemTruth

_MODULES = {"baby": baby, "sports": sports, "beauty": beauty, "toys": toys}
PRODUCTS: dict[str, Callable[[Sketch, np.random.Generator], None]] = {
    what: getattr(_MODULES[department], what)
    for department, names in TYPES.items()
    for what in names
}
"""The function that paints each product type."""


def draw(item: ItemTruth, seed: int) -> Image.Image:
    """Draw the picture of an item, RGB; the same seed gives the same picture."""
    rng = np.random.default_rng([seed, 104, crc32(item.item_id.encode())])
    placement = _place(item, rng)
    u, v = placement.units()
    pattern = figure(item.pattern, u, v, rng)
    backdrop = background(item.colour, rng)
    sketch = Sketch(
        backdrop.copy(), placement, _vary(BASES[item.colour], rng), (pattern, FIGURES[item.colour])
    )
    PRODUCTS[item.what](sketch, rng)
    cue(sketch, item.style, rng.uniform(-18, 18))
    ground = ground_shadow(backdrop, sketch.covered, placement.light)
    # The product was painted over the bare wall; what it leaves free gets its shadow now.
    free = (1 - sketch.covered)[..., None]
    canvas = sketch.canvas + free * (ground - backdrop)
    canvas = disturb(canvas, item.noise, rng)
    return Image.fromarray(np.round(canvas).astype(np.uint8), "RGB")


def _place(item: ItemTruth, rng: np.random.Generator) -> Placement:
    """Choose place, size, turn and light."""
    turn = (
        rng.uniform(20, 32) * rng.choice([-1, 1]) if "tilt" in item.noise else rng.uniform(-12, 12)
    )
    angle = np.radians(rng.uniform(35, 145))
    return Placement(
        x=PIXELS / 2 + rng.uniform(-6, 6),
        y=PIXELS / 2 + rng.uniform(-5, 5),
        scale=PIXELS * rng.uniform(0.37, 0.44 if abs(turn) < 15 else 0.40),
        turn=float(turn),
        light=(float(np.cos(angle)), float(np.sin(angle))),
    )


def _vary(colour: Colour, rng: np.random.Generator) -> Colour:
    """Shift a colour a little, as dyes and cameras do; black, white and grey stay neutral."""
    spread = 2 if max(colour) - min(colour) < 10 else 6
    common = int(rng.integers(-5, 6))
    red, green, blue = (
        int(np.clip(value + common + rng.integers(-spread, spread + 1), 0, 255)) for value in colour
    )
    return red, green, blue
