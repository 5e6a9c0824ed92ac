"""Keys that a person presses while a program is busy drawing."""

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_off_screen() -> Iterator[None]:
    """Echo no key inside, so that what is drawn stays where it is; keys are read afterwards.

    Ctrl-C is no such key: it interrupts as ever. Standard input must be a terminal.
    """
    before = termios.tcgetattr(sys.stdin)
    quiet = list(before)
    quiet[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
