"""Pictures in a terminal: Kitty's graphics where it has them, coloured block cells otherwise.

The way is chosen by what the terminal says of itself (environment, colours), never by asking it
with escape sequences: the answer could swallow a key that the person has just typed.
"""

import base64
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import ControlType, Segment
from rich.style import Style

Way = Literal["kitty", "cells", "none"]

_KITTY_TERMS = {"xterm-kitty", "xterm-ghostty"}
"""Terminals that draw Kitty's placeholders; WezTerm and Konsole know the protocol, not these."""
_COLOURS = {"truecolor", "256"}
_GLYPHS = " ▝▖▞▗▐▄▟"
"""By the quadrants in the front colour: 1 top right, 2 bottom left, 4 bottom right."""
_FRONT = np.array([[0, n & 1, n >> 1 & 1, n >> 2 & 1] for n in range(8)], dtype=bool)
"""(glyph, quadrant) whether the quadrant is in the front colour; the top left never is."""
_PLACEHOLDER = "\U0010eeee"
_ORDINALS = (
    "\u0305\u030d\u030e\u0310\u0312\u033d\u033e\u033f\u0346\u034a\u034b\u034c\u0350\u0351\u0352"
    "\u0357\u035b\u0363\u0364\u0365\u0366\u0367\u0368\u0369\u036a\u036b\u036c\u036d\u036e\u036f"
)
"""Combining characters that stand for 0, 1, 2, ... in Kitty's placeholders."""
MAX_CELLS = len(_ORDINALS)
_CHUNK = 4096
"""Largest part of a picture in one sequence, set by the protocol."""
_CELL_PX = 20
"""Pixels sent for a cell's width: sharp on a dense screen, small over a slow line."""


def picture_way(console: Console, environment: Mapping[str, str] = os.environ) -> Way:
    """How this console can show a picture; `none` where it is no terminal or has no colours."""
    if not console.is_terminal or console.no_color or console.color_system not in _COLOURS:
        return "none"
    kitty = environment.get("TERM") in _KITTY_TERMS and "TMUX" not in environment
    return "kitty" if kitty and console.color_system == "truecolor" else "cells"


class Picture:
    """An RGB picture within `columns` by `columns / 2` cells: a square on the screen."""

    def __init__(self, image: Image.Image, *, columns: int, way: Way) -> None:
        if not 2 <= columns <= MAX_CELLS:
            raise ValueError(f"columns is {columns!r}: a picture takes 2 to {MAX_CELLS} cells")
        self._image = image
        self._columns = columns
        self._way = way

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self._columns, self._columns)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        image = self._image
        scale = self._columns / max(image.size)
        columns = max(1, round(image.width * scale))
        rows = max(1, round(image.height * scale / 2))
        draw = _kitty if self._way == "kitty" else _cells
        margin = Segment(" " * (self._columns - columns))
        for line in draw(image, columns, rows):
            yield from (*line, margin, Segment.line())


def _cells(image: Image.Image, columns: int, rows: int) -> Iterator[list[Segment]]:
    """Each cell in two colours, by the glyph that comes nearest to its four quadrants."""
    pixels = np.asarray(
        image.resize((columns * 2, rows * 2), Image.Resampling.LANCZOS), dtype=np.float32
    )
    quads = pixels.reshape(rows, 2, columns, 2, 3).transpose(0, 2, 1, 3, 4)
    quads = quads.reshape(rows, columns, 4, 3)
    fronts, backs = _means(quads, _FRONT), _means(quads, ~_FRONT)
    drawn = np.where(_FRONT[:, None, None, :, None], fronts[..., None, :], backs[..., None, :])
    best = ((drawn - quads) ** 2).sum(axis=(-1, -2)).argmin(axis=0)
    for row in range(rows):
        yield [
            Segment(
                _GLYPHS[glyph],
                Style(
                    color=_colour(fronts[glyph, row, col]), bgcolor=_colour(backs[glyph, row, col])
                ),
            )
            for col, glyph in enumerate(best[row])
        ]


def _means(quads: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean colours (glyph, row, column, 3) of the chosen quadrants (glyph, quadrant)."""
    weights = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
    means: NDArray[np.float32] = np.einsum("gq,rcqk->grck", weights.astype(np.float32), quads)
    return means


def _colour(rgb: NDArray[np.float32]) -> Color:
    red, green, blue = np.clip(np.rint(rgb), 0, 255)
    return Color.from_rgb(float(red), float(green), float(blue))


def _kitty(image: Image.Image, columns: int, rows: int) -> Iterator[list[Segment]]:
    """Send the picture once, then place it by placeholder characters that wrap like text."""
    image = image.copy()
    image.thumbnail((columns * _CELL_PX, rows * 2 * _CELL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    png = buffer.getvalue()
    # The number is the placeholder's colour: 24 bits, never 0, the same for the same picture.
    number = int.from_bytes(hashlib.sha256(png).digest()[:3], "big") | 1
    style = Style(color=Color.from_rgb(number >> 16, number >> 8 & 255, number & 255))
    # Any control code marks the segment as one without width; its text is written as it is.
    invisible = [(ControlType.CARRIAGE_RETURN,)]
    sent = Segment(_transmission(png, number, columns, rows), None, invisible)
    for row in range(rows):
        cells = (_PLACEHOLDER + _ORDINALS[row] + _ORDINALS[col] for col in range(columns))
        yield [*([sent] if row == 0 else []), Segment("".join(cells), style)]


def _transmission(png: bytes, number: int, columns: int, rows: int) -> str:
    data = base64.standard_b64encode(png).decode("ascii")
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    keys = f"a=T,U=1,f=100,q=2,i={number},c={columns},r={rows},"
    return "".join(
        f"\x1b_G{keys if index == 0 else ''}m={int(index < len(parts) - 1)};{part}\x1b\\"
        for index, part in enumerate(parts)
    )
