"""The pseudo-terminal of the tests: what stands on its screen, and what flashed by."""

import sys
from collections.abc import Iterator

import pytest

from .terminal import Terminal

# All of it in one write: no read can come between the line and what takes its place.
FLASHING = r"""
import sys
sys.stdin.readline()
print("  0.1 s  \x1b[1;36mthink\x1b[0m …\r\x1b[2Kthe answer", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal([sys.executable, "-c", FLASHING])
    opened.send("go\r")
    opened.wait("the answer")
    yield opened
    opened.kill()


def test_what_flashed_by_is_found_and_stands_nowhere(terminal: Terminal) -> None:
    assert terminal.flashed(r"(?m)^  \d\.\d s  think …$").endswith("think …")
    assert "think" not in terminal.text()


@pytest.mark.parametrize("pattern", ["thought …", "^the answer", "(?s)answer.*think"])
def test_what_was_never_written_is_not_found(terminal: Terminal, pattern: str) -> None:
    terminal.child.sendeof()
    with pytest.raises(AssertionError, match="is not to be seen"):
        terminal.flashed(pattern)


def test_what_was_written_before_the_last_keys_does_not_count(terminal: Terminal) -> None:
    terminal.send("\r")
    with pytest.raises(AssertionError, match="is not to be seen"):
        terminal.flashed("think …")
