"""What a heading, a table, an item id, a rating and a day look like."""

from datetime import UTC, datetime

from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.untrusted import words


def stars(rating: float | None) -> Text:
    """A rating of 1 to 5 as stars, any other scale as a number."""
    if rating is None:
        return Text()
    if rating == int(rating) and 0 <= rating <= 5:
        full = int(rating)
        return Text("★" * full + "☆" * (5 - full), "yellow" if full >= 4 else "dim")
    return Text(f"{rating:g}", "yellow")


def heading(text: str) -> RenderableType:
    """A rule with a title, that begins a part of a screen."""
    return Padding(Rule(Text(text, "bold"), align="left", style="dim"), (1, 0, 0, 0))


def plain_table(*columns: str) -> Table:
    """A table without lines."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    return table


def id_text(item_id: str) -> Text:
    """An item id, dimmed and in brackets."""
    return Text.assemble(("[", "dim"), words(item_id, "dim", limit=40), ("]", "dim"))


def day(timestamp: int | None) -> str:
    """The day; a log may hold any number."""
    if timestamp is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d}"
    except (OverflowError, OSError, ValueError):
        return str(timestamp)


def to_copy(command: str, style: str) -> Text:
    """A command in one line, however long: only the terminal breaks it, so it is copied whole."""
    text = words(command, style)
    text.no_wrap, text.overflow = True, "ignore"
    return text
