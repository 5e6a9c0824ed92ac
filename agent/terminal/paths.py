"""Paths as people read and type them."""

import re
from pathlib import Path


def with_tilde(text: str) -> str:
    """A text in which paths below the user's home begin with `~`; what is quoted stays exact."""
    home = str(Path.home())
    if home == "/":
        return text
    return re.sub(rf"(?<![\w/.'\"]){re.escape(home)}(?=/|$|[\s:,;])", "~", text)
