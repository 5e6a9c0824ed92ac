"""What `srec finetune check` found, as plain values and on a terminal."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.untrusted import words
from mllm_srec.finetune.training.check import Checked

SHOWN = 20
"""Lines of a list on a terminal; JSON has them all."""


def checked_facts(checked: Checked) -> dict[str, Any]:
    """Everything that was found."""
    return {
        "ok": not checked.faults,
        "records": {name: len(records) for name, records in checked.encoded.items()},
        "faults": [asdict(fault) for fault in checked.faults],
        "over_long": [asdict(each) for each in checked.over_long],
    }


def checked_view(checked: Checked) -> RenderableType:
    """How many records can be used, what is wrong, and what training will leave out."""
    parts: list[RenderableType] = []
    for name, records in checked.encoded.items():
        tasks = Counter(record.task for record in records)
        listed = ", ".join(f"{task} {count:,}" for task, count in sorted(tasks.items()))
        parts.append(Text(f"{name}: {len(records):,} records ({listed})"))
    if checked.over_long:
        parts.append(Text(f"{len(checked.over_long):,} over-long records, left out of training:"))
        for each in checked.over_long[:SHOWN]:
            origin = f" of {each.origin}" if each.origin else ""
            line = f"  {each.file}, line {each.line}: {each.task}{origin}, {each.tokens:,} tokens"
            parts.append(words(line))
    if checked.faults:
        parts.append(Text(f"{len(checked.faults):,} things are wrong:", "bold red"))
        parts.append(_table(checked))
    else:
        parts.append(Text("nothing is wrong", "green"))
    return Group(*parts)


def _table(checked: Checked) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("file", "line", "place", "value", "problem", "way out"):
        table.add_column(name, overflow="fold")
    for fault in checked.faults[:SHOWN]:
        line = "" if fault.line is None else str(fault.line)
        cells = (fault.file, line, fault.place, fault.value)
        table.add_row(*map(words, (*cells, fault.problem, fault.way_out)))
    if len(checked.faults) > SHOWN:
        table.add_row("", "", "", "", Text(f"and {len(checked.faults) - SHOWN:,} more", "dim"), "")
    return table
