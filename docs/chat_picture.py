"""A picture of a conversation: `srec chat` at a real terminal, over the sample shop.

`python -m docs.chat_picture docs/chat.svg HOME [LINE ...]`, in the folder of the project. The home
is that of `srec demo`, which makes it or brings it up to date.
"""

import io
import re
import subprocess
import sys
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from mllm_srec.agent.demo import demo_user
from mllm_srec.store.home import Home
from tests.agent.chat.terminal import COLUMNS, Terminal

SREC = str(Path(sys.executable).with_name("srec"))
ROWS = 200
"""So high that nothing scrolls away."""
TALK = ("show me 3 things", "why the first one?", "never yellow", "/compare 1 2", "undo")
DIM = b"\x1b[38;2;145;148;146m"
"""In place of SGR 2, which the emulator leaves out."""


class _Stream(pyte.ByteStream):
    def feed(self, data: bytes) -> None:
        super().feed(data.replace(b"\x1b[2m", DIM))


def main(out: Path, home: Path, lines: list[str]) -> None:
    """Talk, and draw the screen."""
    subprocess.run([SREC, "demo", "--home", str(home), "--no-pictures"], check=True)
    with Home.open(home) as opened:
        user = demo_user(opened)
    command = [SREC, "chat", "--user", user, "--home", str(home)]
    terminal = Terminal(command, rows=ROWS, COLORTERM="truecolor")
    terminal.stream = _Stream(terminal.screen)
    terminal.ready()
    for line in lines:
        terminal.send(f"{line}\r")
        terminal.wait(rf"(?s)\n> {re.escape(line)}\n.+\n>\Z")
    rows = len(terminal.text().splitlines()) - 1
    shown = Text("\n").join(_row(terminal.screen, row) for row in range(rows))
    terminal.leave()
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(shown)
    drawn = console.export_svg(title=f"srec chat --user {user}")
    # A page that shows the picture must not ask another host for its font.
    out.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), "utf-8")


def _row(screen: pyte.Screen, row: int) -> Text:
    """A row of the screen, in its colours."""
    text = Text(end="")
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    # Blanks in the colour of a picture are a part of it.
    while cells and cells[-1].data == " " and cells[-1].bg == "default":
        cells.pop()
    for cell in cells:
        style = Style(color=_colour(cell.fg), bgcolor=_colour(cell.bg), bold=cell.bold)
        text.append(cell.data, style)
    return text


def _colour(name: str) -> str | None:
    """The emulator's name of a colour as rich writes it."""
    if name == "default":
        return None
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(TALK))
