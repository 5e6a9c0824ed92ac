"""A lit scene that products are painted into, part by part."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from mllm_srec.finetune.shop.drawing.shapes import Line, Point, Points, Shape

PIXELS = 128
"""Width and height of a picture."""
FINE = 4
"""Outlines are drawn this many times larger, then averaged: that makes their edges smooth."""

Plane = NDArray[np.float32]
"""One value a pixel, (PIXELS, PIXELS)."""
Colour = tuple[int, int, int]
Window = tuple[slice, slice]
"""The rows and columns of a picture that a part may change."""

TONES: dict[str, Colour] = {
    "steel": (186, 192, 202),
    "dark": (58, 60, 68),
    "wood": (205, 156, 100),
    "pale": (247, 243, 234),
    "gold": (222, 182, 92),
    "glass": (206, 226, 236),
    "amber": (224, 178, 120),
    "tan": (198, 164, 130),
    "beak": (244, 142, 40),
}
"""Colours of the parts that have the same colour on every item of a type."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a product lies in the picture and where the light comes from."""

    x: float
    y: float
    """Pixels of the product's origin."""
    scale: float
    """Pixels a product unit."""
    turn: float
    """Degrees, clockwise."""
    light: Point
    """Unit vector the light travels along."""

    def pixels(self, points: Points) -> Points:
        """Map product coordinates to pixels."""
        cos, sin = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        mapped: Points = self.scale * points @ np.array([[cos, sin], [-sin, cos]])
        mapped += np.array([self.x, self.y])
        return mapped

    def units(self) -> tuple[Plane, Plane]:
        """Map every pixel to product coordinates."""
        rows, columns = np.mgrid[0:PIXELS, 0:PIXELS].astype(np.float32) + 0.5
        x, y = (columns - self.x) / self.scale, (rows - self.y) / self.scale
        cos, sin = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        return (cos * x + sin * y).astype(np.float32), (cos * y - sin * x).astype(np.float32)


class Sketch:
    """The picture while it is painted.

    Attributes:
        canvas: (PIXELS, PIXELS, 3) float32, 0 to 255.
        covered: How much of each pixel the product covers.
    """

    def __init__(
        self,
        canvas: NDArray[np.float32],
        placement: Placement,
        base: Colour,
        figure: tuple[Plane, Colour],
    ) -> None:
        """Start a picture.

        Args:
            canvas: The background; painted over in place.
            placement: Where the product lies.
            base: The product's colour.
            figure: The pattern: its strength a pixel, and its colour.
        """
        self.canvas = canvas
        self.covered = np.zeros((PIXELS, PIXELS), np.float32)
        self.cue: tuple[float, float, float] = (0.5, 0.5, 0.3)
        self._placement = placement
        self._base = np.array(base, np.float32)
        strength, colour = figure
        self._surface = self._base + strength[..., None] * (np.array(colour) - self._base)
        self._surface = self._surface.astype(np.float32)
        rows, columns = np.mgrid[0:PIXELS, 0:PIXELS].astype(np.float32)
        along = (columns - placement.x) * placement.light[0]
        along += (rows - placement.y) * placement.light[1]
        self._broad = (-0.13 * along / placement.scale).astype(np.float32)

    def body(
        self, *shapes: Shape, cut: tuple[Shape, ...] = (), shade: float = 1.0, plain: bool = False
    ) -> None:
        """Paint a part in the product's colour, with its pattern unless `plain`."""
        window, mask = self._mask(shapes, cut)
        colour = self._base if plain else self._surface[window]
        self._paint(window, mask, (colour * np.float32(shade)).astype(np.float32))

    def part(
        self, tone: str | Colour, *shapes: Shape, cut: tuple[Shape, ...] = (), alpha: float = 1.0
    ) -> None:
        """Paint a part in a colour of its own."""
        colour = np.array(TONES[tone] if isinstance(tone, str) else tone, np.float32)
        window, mask = self._mask(shapes, cut)
        self._paint(window, mask * np.float32(alpha), colour)

    def flat(self, tone: str | Colour, *shapes: Shape, alpha: float = 1.0) -> None:
        """Paint a mark without relief and shadow: a seam, an eye, a highlight."""
        colour = np.array(TONES[tone] if isinstance(tone, str) else tone, np.float32)
        window, mask = self._mask(shapes, ())
        self.canvas[window] += (mask * np.float32(alpha))[..., None] * (
            colour - self.canvas[window]
        )

    def anchor(self, x: float, y: float, size: float = 0.3) -> None:
        """Say where on the product its style shows, and how large."""
        self.cue = (x, y, size)

    def _mask(self, shapes: tuple[Shape, ...], cut: tuple[Shape, ...]) -> tuple[Window, Plane]:
        """Rasterise shapes with smooth edges, 0 to 1, in the window that their light reaches."""
        outlines = [(shape, self._placement.pixels(shape.points)) for shape in shapes]
        reach = 0.21 * self._placement.scale + 2
        reach += max(shape.width if isinstance(shape, Line) else 0 for shape in shapes) * (
            self._placement.scale / 2
        )
        every = np.vstack([points for _, points in outlines])
        left, top = np.clip(np.floor(every.min(axis=0) - reach), 0, PIXELS - 2).astype(int)
        right, bottom = np.clip(np.ceil(every.max(axis=0) + reach), 2, PIXELS).astype(int)
        right, bottom = max(right, left + 2), max(bottom, top + 2)
        fine = Image.new("L", ((right - left) * FINE, (bottom - top) * FINE))
        pen = ImageDraw.Draw(fine)
        for shape, points in outlines:
            self._trace(pen, shape, points - (left, top), 255)
        for shape in cut:
            self._trace(pen, shape, self._placement.pixels(shape.points) - (left, top), 0)
        mask = np.asarray(fine.reduce(FINE), np.float32) / np.float32(255)
        return (slice(top, bottom), slice(left, right)), mask

    def _trace(self, pen: ImageDraw.ImageDraw, shape: Shape, points: Points, value: int) -> None:
        corners = [(x, y) for x, y in (FINE * points).tolist()]
        if not isinstance(shape, Line):
            pen.polygon(corners, fill=value)
            return
        width = max(FINE, round(shape.width * self._placement.scale * FINE))
        pen.line(corners, fill=value, width=width, joint="curve")
        for x, y in (corners[0], corners[-1]):
            half = width / 2
            pen.ellipse((x - half, y - half, x + half, y + half), fill=value)

    def _paint(self, window: Window, mask: Plane, colour: NDArray[np.float32]) -> None:
        """Paint a lit part: rounded towards its edge, with a soft shadow on what lies below."""
        sigma = 0.07 * self._placement.scale
        soft = gaussian_filter(mask, sigma, truncate=2.5)
        x, y = self._placement.light
        rows, columns = np.gradient(soft)
        relief = columns * np.float32(2.5 * sigma * x) + rows * np.float32(2.5 * sigma * y)
        shadow = np.roll(soft, (round(2 * y), round(2 * x)), axis=(0, 1)) * (1 - mask)
        canvas, covered = self.canvas[window], self.covered[window]
        canvas *= (1 - np.float32(0.35) * shadow * covered)[..., None]
        lit = relief * np.where(relief > 0, np.float32(0.35), np.float32(0.5))
        lit += self._broad[window]
        gleam = np.float32(90) * np.maximum(relief - np.float32(0.12), 0)
        shaded = colour * (lit + 1)[..., None] + gleam[..., None]
        canvas += mask[..., None] * (np.clip(shaded, 0, 255) - canvas)
        np.maximum(covered, mask, out=covered)
