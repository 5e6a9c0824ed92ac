"""What a node decided and on what grounds, as small tables: one source for terminal and page."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mllm_srec.agent.inspection.differences import changes
from mllm_srec.agent.inspection.records import CallRecord, NodeRecord, RunRecord, TraceRecord
from mllm_srec.agent.inspection.retrieval import retrieval_sections, searches_section
from mllm_srec.agent.inspection.state import Values, states, steps
from mllm_srec.agent.inspection.tables import Section, decimal, entries

_TITLE = re.compile(r"^Title: (.*)$", re.MULTILINE)
"""The line of a fusing prompt that names the item."""
ITEM = "item"
"""The column of a table that names the item of a row."""
Added = Mapping[str, Sequence[Section]]
"""More tables, by step."""
NOTHING: Added = MappingProxyType({})
"""No tables beside those of the trace."""


def sections(node: NodeRecord, before: Values, run: RunRecord) -> list[Section]:
    """The tables that fit what the node returned; none for a node that returned nothing known.

    Args:
        node: The pass.
        before: The state that it read.
        run: Its run, for the noise floor.
    """
    output = node.output if isinstance(node.output, Mapping) else {}
    found: list[Section] = []
    candidates = entries(output.get("candidates"))
    if candidates and all(entry.get("logit") is None for entry in candidates):
        found += retrieval_sections(candidates, node, before)
    elif candidates:
        found.append(_scoring(candidates, node, before, run))
    elif node.searches:
        found.append(searches_section(node))
    if entries(output.get("windows")):
        found.append(_windows(entries(output["windows"]), entries(before.get("windows"))))
    if entries(output.get("profile")):
        found.append(_profile(entries(output["profile"])))
    if entries(output.get("reasons")):
        found.append(_reasons(entries(output["reasons"])))
    if fused := list(_fused(node.calls)):
        columns = ("item", "what", "from the picture", "from the text", "conflicts")
        found.append(Section(title="Fusion", columns=columns, rows=tuple(fused)))
    return found


def tabled_items(trace: TraceRecord, added: Added = NOTHING) -> set[str]:
    """Ids of the items that the tables of a trace have a row of."""
    tables = [
        table for node, before, _ in states(trace) for table in sections(node, before, trace.run)
    ]
    tables += [table for each in added.values() for table in each]
    return {
        row[table.columns.index(ITEM)]
        for table in tables
        if ITEM in table.columns
        for row in table.rows
    }


def _scoring(
    candidates: Sequence[Mapping[str, Any]], node: NodeRecord, before: Values, run: RunRecord
) -> Section:
    asked = [entry.get("item_id") for entry in entries(before.get("candidates"))]
    scores = [call for call in node.calls if call.logprobs]
    call_of = dict(zip(asked, scores, strict=False))

    def row(rank: int, entry: Mapping[str, Any]) -> tuple[str, ...]:
        call = call_of.get(entry.get("item_id"))
        return (
            f"{entry.get('retrieval_rank')} → {rank}",
            str(entry.get("item_id")),
            call.labels(3) if call else "-",
            decimal(entry.get("logit"), sign=True),
            decimal(entry.get("probability")),
            decimal(entry.get("score")),
        )

    floor = run.noise_floor
    note = "noise floor not recorded" if floor is None else f"noise floor ±{floor:.3g} nats"
    if any(call.token_ids for call in scores):
        note = f"in brackets the tokens of the labels; {note}"
    return Section(
        title="Scores",
        columns=("rank", "item", "log-probabilities", "margin", "calibrated", "score"),
        rows=tuple(row(rank, entry) for rank, entry in enumerate(candidates, 1)),
        note=f"{note}; rank: retrieval → final",
    )


def _windows(made: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> Section:
    """The windows of a pass, and what each changed."""

    def row(number: int, window: Mapping[str, Any], last: Mapping[str, Any]) -> tuple[str, ...]:
        named = {n: v for n, v in window.get("preference", {}).items() if v}
        return (
            f"{number}: {window.get('start')}-{window.get('stop')}",
            "; ".join(f"{name} {', '.join(values)}" for name, values in named.items()) or "nothing",
            _moved(last.get("preference", {}), named) if last else "the first",
            "plain form" if window.get("fallback") else "model",
        )

    last = [*(before[-1:] or [{}]), *made]
    return Section(
        title="Preference, window by window",
        columns=("window", "preference", "changed", "said by"),
        rows=tuple(row(len(before) + n, each, last[n - 1]) for n, each in enumerate(made, 1)),
    )


def _moved(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> str:
    """Values that came to a level and values that left it, level by level."""

    def at(level: str) -> Iterator[str]:
        came, left = after.get(level, []), before.get(level, [])
        yield from (f"+{value}" for value in came if value not in left)
        yield from (f"-{value}" for value in left if value not in came)

    moved = {level: ", ".join(at(level)) for level in dict.fromkeys([*after, *before])}
    return "; ".join(f"{level} {values}" for level, values in moved.items() if values) or "nothing"


def _profile(statements: Sequence[Mapping[str, Any]]) -> Section:
    return Section(
        title="Profile",
        columns=("statement", "interactions"),
        rows=tuple(
            (
                f"{entry.get('strength')} {entry.get('value')}",
                ", ".join(map(str, entry.get("item_ids", []))) or "none",
            )
            for entry in statements
        ),
    )


def _reasons(reasons: Sequence[Mapping[str, Any]]) -> Section:
    return Section(
        title="Reasons",
        columns=("item", "reason", "cites", "said by"),
        rows=tuple(
            (
                str(entry.get("item_id")),
                str(entry.get("reason")),
                ", ".join(map(str, entry.get("evidence", []))) or "nothing",
                "plain form" if entry.get("fallback") else "model",
            )
            for entry in reasons
        ),
    )


def _fused(calls: Sequence[CallRecord]) -> Iterator[tuple[str, ...]]:
    """Yield what each answer that merges picture and text, and was taken, took from where."""
    for call in calls:
        if call.problem is not None:
            continue
        title = _TITLE.search(call.prompt)
        try:
            answer = json.loads(call.answer or "")
        except ValueError:
            continue
        if isinstance(answer, dict) and {"what", "seen", "told"} <= answer.keys():
            parts = (answer.get(name) for name in ("seen", "told", "conflicts"))
            yield (title[1] if title else "-", str(answer["what"]), *map(_pairs, parts))


def _pairs(value: object) -> str:
    if not isinstance(value, Mapping):
        return "none"
    return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"


def shown(trace: TraceRecord, *, step: str | None = None, added: Added = NOTHING) -> dict[str, Any]:
    """A trace as plain JSON values, with the tables and the changes of the state of each node.

    Args:
        trace: What to show.
        step: The only step to show.
        added: More tables, by step.

    Raises:
        TraceError: The trace has no such step.
    """
    return {
        **trace.to_dict(),
        "nodes": [
            {
                **node.to_dict(),
                "sections": [
                    each.to_dict()
                    for each in (
                        *sections(node, before, trace.run),
                        *added.get(node.step, ()),
                    )
                ],
                "changes": [each.to_dict() for each in changes(before, after)],
            }
            for node, before, after in (states(trace) if step is None else steps(trace, step))
        ],
    }
