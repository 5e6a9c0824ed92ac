"""A picture of what a command prints: `python docs/picture.py docs/NAME.svg srec ARGUMENTS...`."""

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100


def main(out: Path, command: list[str]) -> None:
    """Run a command as if in a wide terminal, and draw its standard output."""
    terminal = {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "COLORTERM": "truecolor"}
    done = subprocess.run(
        command, env=os.environ | terminal, stdout=subprocess.PIPE, text=True, check=True
    )
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(done.stdout.rstrip()))
    console.save_svg(str(out), title=" ".join(command))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
