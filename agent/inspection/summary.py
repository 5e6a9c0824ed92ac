"""What a run was asked for and what it gave, in a line each, for the heads of terminal and page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from mllm_srec.agent.inspection.records import RunRecord, TraceRecord
from mllm_srec.agent.tracing.attributes import as_json

ITEMS_NAMED = 3
"""Items of an answer that the line names."""
VALUES_NAMED = 5
"""Values of a list that was given; of more their count is told."""
LINE_CHARS = 300
TITLE_CHARS = 24
"""Characters of the title of an item that the line names."""
Titles = Mapping[str, str]
"""Item id to title; what has none is named by its id alone."""
UNTITLED: Titles = MappingProxyType({})


def asked(run: RunRecord) -> str:
    """What the run was asked for; empty where nothing was recorded."""
    given = run.input
    if not isinstance(given, Mapping):
        return _line(given)
    if "said" in given:
        shown = "with a picture" if given.get("picture") else ""
        return _line(", ".join(filter(None, (given["said"], shown))))
    if "k" not in given:
        return _line(", ".join(f"{name} {_value(each)}" for name, each in given.items()))
    return _line(", ".join(_request(given)))


def _request(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a request for a list says."""
    yield "1 item" if given["k"] == 1 else f"{given['k']} items"
    if given.get("conditions"):
        yield str(given["conditions"])
    if given.get("as_of") is not None:
        yield f"as of position {given['as_of']}"
    for name, told in (("only", "of {} given item"), ("given_history", "a history of {} event")):
        if isinstance(given.get(name), Sequence):
            yield told.format(len(given[name])) + ("" if len(given[name]) == 1 else "s")
    if given.get("picture"):
        yield "with a picture"
    if given.get("before"):
        yield f"ends before {given['before']}"
    if wishes := given.get("wishes"):
        yield f"{len(wishes)} wish{'es' if len(wishes) > 1 else ''}"


def gave(trace: TraceRecord, titles: Titles = UNTITLED) -> str:
    """What came of the run, in the words of its answer or by its first items; empty for nothing."""
    run = trace.run
    if run.output is None and run.name.startswith("tool ") and trace.nodes:
        run = replace(run, output=trace.nodes[-1].output)
    return run_gave(run, titles)


def run_gave(run: RunRecord, titles: Titles = UNTITLED) -> str:
    """The same of what the run itself recorded, without its nodes: a tool call records nothing."""
    made = run.output
    if not isinstance(made, Mapping):
        return _line(made)
    if "answer" in made:
        return _line(made["answer"])
    if isinstance(items := made.get("items"), list):
        return _line(_items(items, titles))
    return _line(", ".join(f"{name} {_value(each)}" for name, each in made.items()))


def named_ids(run: RunRecord) -> list[str]:
    """Ids of the items that the line names, and has no title for."""
    made = run.output if isinstance(run.output, Mapping) else {}
    items = None if "answer" in made else made.get("items")
    found = items[:ITEMS_NAMED] if isinstance(items, list) else []
    return [each for each in found if isinstance(each, str)]


def _items(items: Sequence[Any], titles: Titles) -> str:
    first = ", ".join(_item(each, titles) for each in items[:ITEMS_NAMED])
    left = len(items) - ITEMS_NAMED
    return f"{first} and {left} more" if left > 0 else first or "no items"


def _item(item: Any, titles: Titles) -> str:
    """An item by its title, where there is one, and its id."""
    known = item if isinstance(item, Mapping) else {"item_id": item, "title": titles.get(item, "")}
    title = " ".join(str(known.get("title", "")).split())
    short = title if len(title) <= TITLE_CHARS else f"{title[: TITLE_CHARS - 1].rstrip()}…"
    return " ".join(filter(None, (short, str(known.get("item_id", "")))))


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) > VALUES_NAMED:
        return f"({len(value)} values)"
    return as_json(value) if isinstance(value, Mapping | list) else str(value)


def _line(value: Any) -> str:
    """Any value in one line of bounded length."""
    text = "" if value is None else " ".join(_value(value).split())
    return text if len(text) <= LINE_CHARS else f"{text[: LINE_CHARS - 1]}…"
