"""The pictures of a trace, as sent to the model: decoded with care, drawn in a terminal."""

import io
from collections.abc import Callable

from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.text import Text

from mllm_srec.agent.terminal.pictures import Picture, picture_way

Find = Callable[[str], bytes | None]
"""The bytes of a picture by its SHA-256; None where they are not kept."""
Draw = Callable[[str], Picture | Text | None]
"""A picture of an address, `sha256:...`, for a terminal; words where its bytes are not kept, None
where the terminal has no way to show it."""
PICTURE_PIXELS = 4_000_000
"""Pictures beyond it are not decoded; those sent to a model are far smaller."""
COLUMNS = 16
"""Cells of a picture in a terminal."""


def decoded(address: str, find: Find) -> Image.Image | None:
    """The picture of an address in RGB; None where it is lost, left out, or no picture."""
    content = _content(address, find)
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            small = image.width * image.height <= PICTURE_PIXELS
            return image.convert("RGB") if small else None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None


def _content(address: str, find: Find) -> bytes | None:
    digest = address.removeprefix("sha256:")
    return find(digest) if len(digest) == 64 and address != digest else None


def nothing_drawn(address: str) -> None:
    """Draw no pictures."""
    del address


def drawing(find: Find, console: Console) -> Draw:
    """How a console shows the pictures of a trace, and says which are not kept."""
    way = picture_way(console)

    def draw(address: str) -> Picture | Text | None:
        if _content(address, find) is None:
            return Text("picture not here: lost, or left out", "yellow")
        image = None if way == "none" else decoded(address, find)
        return None if image is None else Picture(image, columns=COLUMNS, way=way)

    return draw
