"""The pictures of a trace, as sent to the model: decoded with care, drawn in a terminal."""

import io
from collections.abc import Callable

from PIL import Image, UnidentifiedImageError
from rich.console import Console

from mllm_srec.agent.terminal.pictures import Picture, picture_way

Find = Callable[[str], bytes | None]
"""The bytes of a picture by its SHA-256; None where they are not kept."""
Draw = Callable[[str], Picture | None]
"""A picture of an address, `sha256:...`, for a terminal; None where it cannot be shown."""
PICTURE_PIXELS = 4_000_000
"""Pictures beyond it are not decoded; those sent to a model are far smaller."""
COLUMNS = 16
"""Cells of a picture in a terminal."""


def decoded(address: str, find: Find) -> Image.Image | None:
    """The picture of an address in RGB; None where it is lost, left out, or no picture."""
    digest = address.removeprefix("sha256:")
    content = find(digest) if len(digest) == 64 and address != digest else None
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            small = image.width * image.height <= PICTURE_PIXELS
            return image.convert("RGB") if small else None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None


def nothing_drawn(address: str) -> None:
    """Draw no pictures."""
    del address


def drawing(find: Find, console: Console) -> Draw:
    """How a console shows the pictures of a trace; as nothing where it has no way."""
    way = picture_way(console)
    if way == "none":
        return nothing_drawn

    def draw(address: str) -> Picture | None:
        image = decoded(address, find)
        return None if image is None else Picture(image, columns=COLUMNS, way=way)

    return draw
