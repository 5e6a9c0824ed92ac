"""What a terminal shows of something."""

import io

from rich.console import Console, RenderableType


def render(renderable: RenderableType, *, width: int = 120, colours: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colours,
        color_system="truecolor" if colours else None,
    )
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
