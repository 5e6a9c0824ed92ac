"""A picture of the last lines that a command prints.

`python docs/picture.py docs/NAME.svg LINES srec ARGUMENTS...`
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100


def main(out: Path, lines: int, command: list[str]) -> None:
    """Run a command as if in a wide terminal, and draw its standard output."""
    terminal = {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "COLORTERM": "truecolor"}
    done = subprocess.run(
        command, env=os.environ | terminal, stdout=subprocess.PIPE, text=True, check=True
    )
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    # Whose machine drew the picture is nobody's business.
    shown = done.stdout.replace(str(Path.home()), "~").rstrip().splitlines()[-lines:]
    console.print(Text.from_ansi("\n".join(shown)))
    drawn = console.export_svg(title=" ".join(command))
    # A page that shows the picture must not ask another host for its font.
    out.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
