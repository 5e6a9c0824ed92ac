"""A user's history on a terminal: cards with pictures, or a plain table."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.results import HistoryEntry
from mllm_srec.agent.terminal.item_pictures import PICTURE_COLUMNS, Pictures
from mllm_srec.agent.terminal.pieces import day, id_text, plain_table, stars
from mllm_srec.agent.untrusted import words

HISTORY_SHOWN = 8
"""Newest interactions that are shown; the rest is counted."""

CARD_TEXT = 26
"""Characters of a line beside the picture of a history card on 80 columns."""


def history_view(history: Iterable[HistoryEntry], pictures: Pictures) -> RenderableType:
    """The newest interactions, oldest first: cards with pictures, or a plain table."""
    entries = list(history)
    shown = entries[-HISTORY_SHOWN:]
    first = len(entries) - len(shown) + 1
    parts: list[RenderableType] = []
    if first > 1:
        parts.append(Text(f"… {first - 1} earlier", "dim"))
    if pictures.way == "none":
        parts.append(_history_table(shown, first))
    else:
        parts.append(_history_cards(shown, first, pictures))
    return Group(*parts)


def _history_table(entries: Iterable[HistoryEntry], first: int) -> Table:
    table = plain_table("#", "when", "rating", "item", "what it is")
    for number, entry in enumerate(entries, first):
        table.add_row(
            Text(str(number), "dim"),
            Text(day(entry.timestamp) or "-"),
            stars(entry.rating),
            Text.assemble(words(entry.title or "untitled", limit=60), " ", id_text(entry.item_id)),
            words(entry.line, "dim", limit=90),
        )
    return table


def _history_cards(
    entries: Sequence[HistoryEntry], first: int, pictures: Pictures
) -> RenderableType:
    """Two cards a line, to be read line by line."""
    cards = [_card(entry, number, pictures) for number, entry in enumerate(entries, first)]
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    for left, right in zip_longest(cards[::2], cards[1::2]):
        table.add_row(left, right)
    return table


def _card(entry: HistoryEntry, number: int, pictures: Pictures) -> RenderableType:
    """Picture left, words right; the card is as high as its picture."""
    head = Text.assemble((f"{number}. ", "dim"), stars(entry.rating), " ", day(entry.timestamp))
    text = Group(
        head,
        words(entry.title or "untitled", "bold", limit=2 * CARD_TEXT),
        words(entry.line, "dim", limit=3 * CARD_TEXT),
    )
    card = Table.grid(padding=(0, 1), expand=True)
    card.add_column(width=PICTURE_COLUMNS)
    card.add_column(ratio=1)
    card.add_row(pictures.of(entry.item_id), text)
    return Padding(card, (0, 0, 1, 0))
