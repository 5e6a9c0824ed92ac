"""Pictures on a terminal, whatever it can show."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from mllm_srec.agent.terminal.pictures import Picture, Way, picture_way

from .screen import render

RED = Image.new("RGB", (96, 96), (200, 20, 30))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(2, 30))
def test_a_picture_keeps_within_its_cells(width: int, height: int, columns: int) -> None:
    picture = Picture(Image.new("RGB", (width, height), "blue"), columns=columns, way="cells")
    console = Console(file=io.StringIO(), width=100, color_system="truecolor", force_terminal=True)
    lines = console.render_lines(picture, pad=False)
    assert 1 <= len(lines) <= columns // 2 + 1
    assert all(sum(segment.cell_length for segment in line) == columns for line in lines)


def test_block_cells_have_the_colours_of_the_picture() -> None:
    halves = Image.new("RGB", (4, 4), (250, 0, 0))
    halves.paste((0, 0, 250), (2, 0, 4, 4))
    shown = render(Picture(halves, columns=2, way="cells"), colours=True)
    assert "250;0;0" in shown
    assert "0;0;250" in shown


def test_kitty_gets_the_picture_once_and_placeholders() -> None:
    shown = render(Picture(RED, columns=4, way="kitty"), colours=True)
    assert shown.count("\x1b_G") == 1
    assert "c=4,r=2" in shown
    assert shown.count("\U0010eeee") == 8


def test_a_picture_needs_a_sensible_size() -> None:
    with pytest.raises(ValueError, match="2 to 30 cells"):
        Picture(RED, columns=31, way="cells")


@pytest.mark.parametrize(
    ("console", "environment", "way"),
    [
        (
            {"force_terminal": True, "color_system": "truecolor"},
            {"TERM": "xterm-256color"},
            "cells",
        ),
        ({"force_terminal": True, "color_system": "256"}, {"TERM": "xterm-kitty"}, "cells"),
        ({"force_terminal": True, "color_system": "truecolor"}, {"TERM": "xterm-kitty"}, "kitty"),
        (
            {"force_terminal": True, "color_system": "truecolor"},
            {"TERM": "xterm-kitty", "TMUX": "socket,1,0"},
            "cells",
        ),
        ({"force_terminal": True, "color_system": "standard"}, {"TERM": "linux"}, "none"),
        ({"force_terminal": True, "color_system": "truecolor", "no_color": True}, {}, "none"),
        ({"force_terminal": False, "color_system": "truecolor"}, {}, "none"),
    ],
)
def test_the_way_of_a_picture_follows_from_what_the_terminal_says(
    console: dict[str, object], environment: dict[str, str], way: Way
) -> None:
    made = Console(file=io.StringIO(), **console)  # type: ignore[arg-type]
    assert picture_way(made, environment) == way
