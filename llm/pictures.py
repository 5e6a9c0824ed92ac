"""The one preparation of pictures, for training and for serving."""

import hashlib
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from mllm_srec.llm.engine import ModelError, Picture

PREPARATION_VERSION = "1"
"""Part of every picture's key: raise it when `prepare` gives other pixels."""

NEUTRAL = (128, 128, 128)
"""Colour of padding and behind transparency: near zero after the usual normalisation."""

BUDGET_FILE = "picture_budget.json"

# Models cut pictures into patches of 14 to 32 pixels; a thinner one has no patch at all.
_SHORTEST_SIDE = 32


@dataclass(frozen=True, slots=True)
class PictureBudget:
    """How many pixels of a picture a model sees; lies beside its weights."""

    side: int = 512
    """Longest side in pixels."""
    square: bool = False
    """Fill a square of `side` by scaling and padding; else only scale down."""

    def __post_init__(self) -> None:
        """Refuse a side that no picture fits."""
        if self.side < _SHORTEST_SIDE:
            raise ValueError(f"picture side {self.side!r}: give at least {_SHORTEST_SIDE} pixels")


def load_budget(model_path: Path) -> PictureBudget:
    """Read a model's picture budget; the default one where the model has none.

    Raises:
        ModelError: The file is not what `save_budget` writes.
    """
    path = model_path / BUDGET_FILE
    if not path.exists():
        return PictureBudget()
    try:
        return PictureBudget(**json.loads(path.read_text("utf-8")))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: {error}; write {{'side': pixels, 'square': true or false}}"
        ) from error


def save_budget(model_path: Path, budget: PictureBudget) -> None:
    """Write a picture budget beside a model's weights."""
    content: dict[str, Any] = {"side": budget.side, "square": budget.square}
    (model_path / BUDGET_FILE).write_text(json.dumps(content) + "\n", "utf-8")


def preparation(budget: PictureBudget) -> str:
    """What decides how `prepare` makes pixels of an image, as it stands in hashes."""
    return f"{PREPARATION_VERSION} {budget}"


def prepare(image: Image.Image, budget: PictureBudget) -> Picture:
    """Turn an image into what the model sees: upright, RGB, within the budget.

    The result depends on this image alone, never on its neighbours in a batch.
    """
    upright = ImageOps.exif_transpose(image)
    prepared = _fit(_to_rgb(upright), budget)
    pixels = prepared.tobytes()
    head = f"{PREPARATION_VERSION} {prepared.width} {prepared.height} ".encode()
    key = hashlib.sha256(head + pixels).hexdigest()
    return Picture(pixels, key, prepared.width, prepared.height)


def open_prepared(picture: Picture) -> Image.Image:
    """A prepared picture as an image."""
    return Image.frombytes("RGB", (picture.width, picture.height), picture.pixels)


def as_png(picture: Picture) -> bytes:
    """A prepared picture as a PNG file, to be kept or sent."""
    file = io.BytesIO()
    # Runs of equal pixels are all that is packed: faster, and no larger for pictures this small.
    open_prepared(picture).save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip sixteen bits to white instead of scaling them.
        image = image.point(lambda value: value * (1 / 257) + 0).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*NEUTRAL, 255))
        image = Image.alpha_composite(ground, layer)
    return image.convert("RGB")


def _fit(image: Image.Image, budget: PictureBudget) -> Image.Image:
    scale = budget.side / max(image.size)
    if not budget.square:
        scale = min(scale, 1.0)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if budget.square:
        canvas = (budget.side, budget.side)
    else:
        canvas = (max(size[0], _SHORTEST_SIDE), max(size[1], _SHORTEST_SIDE))
    return image if image.size == canvas else _centre(image, canvas)


def _centre(image: Image.Image, canvas: tuple[int, int]) -> Image.Image:
    whole = Image.new("RGB", canvas, NEUTRAL)
    whole.paste(image, ((canvas[0] - image.width) // 2, (canvas[1] - image.height) // 2))
    return whole
