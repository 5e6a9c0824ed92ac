"""Words of anybody: on a terminal never markup, never a control sequence; kept, always whole."""

import json
import unicodedata
from typing import Any

from rich.text import Text

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that steer a terminal, turn the reading direction, or show nothing."""
_JOINERS = {"\u200c", "\u200d"}
"""Needed by Indic and Persian words, and by emoji; harmless."""


def sound(value: Any) -> Any:
    """A JSON value whose texts have no halves of characters; each of those becomes a `?`.

    They come from bytes that are no UTF-8, and no database and no tokenizer takes them.
    """
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-8", "replace"))


def visible(text: str, *, lines: bool = False) -> str:
    r"""Text with everything invisible written out: an escape character becomes `\x1b`.

    Args:
        text: Of anybody.
        lines: Keep line ends; otherwise all white space becomes one blank.
    """
    if not lines:
        text = " ".join(text.split())
    return "".join(_escaped(character, lines) for character in text)


def words(text: str, style: str = "", *, limit: int | None = None, lines: bool = False) -> Text:
    """Text for rich: not parsed for markup, nothing in it reaches the terminal unseen.

    Args:
        text: Of anybody.
        style: Our style for all of it.
        limit: Characters shown; what is cut is marked by `…`.
        lines: Keep line ends.
    """
    shown = visible(text, lines=lines)
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    return Text(shown, style)


def _escaped(character: str, lines: bool) -> str:
    if (character == "\n" and lines) or character in _JOINERS:
        return character
    category = unicodedata.category(character)
    if category not in _HIDDEN:
        return " " if category == "Zs" else character
    return character.encode("unicode_escape").decode("ascii")
