"""What surrounds a product: background, ground shadow, and the disturbances of a real photo."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from mllm_srec.finetune.shop.drawing.sketch import PIXELS, Plane

Canvas = NDArray[np.float32]
"""(PIXELS, PIXELS, 3), 0 to 255."""

_WALLS = (
    (236, 231, 223), (224, 228, 232), (219, 211, 200), (208, 213, 210), (229, 220, 219),
    (212, 218, 228), (240, 238, 234), (226, 224, 214),
)  # fmt: skip
_MARKS = ("sample shop", "preview", "demo", "photo: shop", "www")


def background(colour: str, rng: np.random.Generator) -> Canvas:
    """Paint a soft, pale, nearly colourless background that the product stands out from."""
    wall = np.array(_WALLS[rng.integers(len(_WALLS))], np.float32)
    if colour == "white":
        wall *= np.float32(rng.uniform(0.68, 0.8))
    rows, columns = np.mgrid[0:PIXELS, 0:PIXELS].astype(np.float32) / np.float32(PIXELS)
    kind = rng.integers(4)
    if kind == 0:
        tone = 1.05 - rng.uniform(0.1, 0.22) * rows
    elif kind == 1:
        edge = rng.uniform(0.58, 0.76)
        tone = (
            1.02
            - rng.uniform(0.08, 0.16) * np.clip((rows - edge) * 40, 0, 1)
            + 0.06 * (rows - edge)
        )
    elif kind == 2:
        x, y = rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.6)
        tone = 1.08 - rng.uniform(0.2, 0.36) * np.hypot(columns - x, rows - y)
    else:
        tone = 1.0 + 0 * rows
        for _ in range(5):
            x, y, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.08, 0.2)
            inside = np.clip((radius - np.hypot(columns - x, rows - y)) * 30, 0, 1)
            tone += rng.choice([-0.05, 0.05]) * inside
    painted: Canvas = np.clip(wall * tone[..., None].astype(np.float32), 0, 255)
    return painted


def ground_shadow(canvas: Canvas, covered: Plane, light: tuple[float, float]) -> Canvas:
    """Darken the background where a product that covers `covered` keeps the light away."""
    rows = np.flatnonzero(covered.max(axis=1) > 0.5)
    columns = np.flatnonzero(covered.max(axis=0) > 0.5)
    bottom, left, right = rows[-1], columns[0], columns[-1]
    y, x = np.mgrid[0:PIXELS, 0:PIXELS].astype(np.float32)
    middle, half = (left + right) / 2 + 4 * light[0], max((right - left) / 2, 8)
    pool = np.exp(-(((x - middle) / (0.75 * half)) ** 2) - ((y - bottom) / 4.5) ** 2)
    cast = np.roll(gaussian_filter(covered, 4), (5, round(6 * light[0])), axis=(0, 1))
    dark = np.clip(0.42 * pool + 0.22 * cast, 0, 0.6) * (1 - covered)
    shaded: Canvas = canvas * (1 - dark[..., None]).astype(np.float32)
    return shaded


def disturb(canvas: Canvas, noise: tuple[str, ...], rng: np.random.Generator) -> Canvas:
    """Spoil a finished picture the ways `noise` names."""
    if "occlusion" in noise:
        canvas = _occlude(canvas, rng)
    if "dim" in noise:
        canvas = canvas * np.float32(rng.uniform(0.62, 0.76))
    if "blur" in noise:
        canvas = gaussian_filter(canvas, (0.9, 0.9, 0))
    if "watermark" in noise:
        canvas = _watermark(canvas, rng)
    if "grain" in noise:
        canvas = canvas + rng.normal(0, 6, (PIXELS, PIXELS, 1)).astype(np.float32)
    spoilt: Canvas = np.clip(canvas, 0, 255).astype(np.float32)
    return spoilt


def _occlude(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """Let something out of focus stand before a corner."""
    x, y = rng.choice([0.0, 1.0], 2) * PIXELS
    rows, columns = np.mgrid[0:PIXELS, 0:PIXELS].astype(np.float32)
    reach = rng.uniform(46, 62)
    distance = np.hypot((columns - x) * rng.uniform(0.7, 1.3), rows - y)
    cover = np.clip((reach - distance) / 8, 0, 1)[..., None] * np.float32(0.95)
    thing = np.array([168, 160, 150], np.float32) * np.float32(rng.uniform(0.7, 1.15))
    hidden: Canvas = canvas + (cover * (thing - canvas)).astype(np.float32)
    return hidden


def _watermark(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """Print words across the picture, half transparent."""
    layer = Image.new("L", (PIXELS * 2, PIXELS * 2))
    font = ImageFont.load_default(size=int(rng.integers(34, 46)))
    pen = ImageDraw.Draw(layer)
    words = _MARKS[rng.integers(len(_MARKS))]
    pen.text((PIXELS, PIXELS), words, fill=255, font=font, anchor="mm")
    turned = layer.rotate(rng.uniform(-40, 40), resample=Image.Resampling.BILINEAR)
    mark = np.asarray(turned.reduce(2), np.float32)[..., None] / 255
    ink = np.float32(255 if canvas.mean() < 150 or rng.random() < 0.6 else 40)
    strength = np.float32(rng.uniform(0.25, 0.4))
    marked: Canvas = canvas + (strength * mark * (ink - canvas)).astype(np.float32)
    return marked
