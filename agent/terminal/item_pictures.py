"""The pictures of items on a terminal: where they come from, and how this one shows them."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL.Image import Image
from rich.console import Console, RenderableType
from rich.text import Text

from mllm_srec.agent.state import YOUR_PICTURE
from mllm_srec.agent.terminal.pictures import Picture, Way, picture_way
from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.pictures import open_picture

PICTURE_COLUMNS = 12
"""Cells of a picture: the smallest size at which type, colour and pattern can be seen."""

THUMBNAIL_PX = 240
"""Longest side of a picture before it is drawn: enough for Kitty's real pixels."""

PictureSource = Callable[[str], Image | None]
"""Item id to its picture, None without one; raises `StoreError` for a damaged one."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of items, and how the terminal shows them."""

    source: PictureSource
    way: Way

    @classmethod
    def on(cls, console: Console, source: PictureSource, *, wanted: bool = True) -> "Pictures":
        """Pictures as this console can show them; none where they are not wanted."""
        return cls(source, picture_way(console) if wanted else "none")

    def of(self, item_id: str) -> RenderableType | None:
        """The picture of an item, None where the terminal shows none."""
        if self.way == "none":
            return None
        try:
            image = self.source(item_id)
        except StoreError:
            return Text("damaged".center(PICTURE_COLUMNS), "yellow italic")
        if image is None:
            return Text("no picture".center(PICTURE_COLUMNS), "dim italic")
        return Picture(image, columns=PICTURE_COLUMNS, way=self.way)


def home_pictures(home: Home, own: bytes | None = None) -> PictureSource:
    """The pictures of a home's items, small.

    Args:
        home: The shop.
        own: The file of the picture that stands in the history as `YOUR_PICTURE`.
    """

    def source(item_id: str) -> Image | None:
        if item_id == YOUR_PICTURE and own is not None:
            image = open_picture(own)
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            return image
        item = home.catalogue.item(item_id)
        kept = item and item.picture
        return home.pictures.thumbnail(kept, THUMBNAIL_PX) if kept else None

    return source
