"""Two traces held against each other: what counts as a difference, and what is only shown.

Counted are what was asked, the path, prompts, answers, what nodes made of them, and the order of
lists; numbers that rest on a margin of the model count beyond the recorded noise floor. Never
counted: time, tokens, cache hits.
"""

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.inspection.differences import MISSING, Change, Close, changes, equal
from mllm_srec.agent.inspection.listing import seconds_text
from mllm_srec.agent.inspection.records import CallRecord, NodeRecord, RunRecord, TraceRecord
from mllm_srec.agent.untrusted import words
from mllm_srec.store.spans import beginning
from mllm_srec.tools.ranking import CombineWeights

CHANGES_SHOWN = 40
"""Changes that are shown without `--full`."""
ITEMS_SHOWN = 10
"""Items of a list that the head of a difference names."""
TEXT_CHARS = 300
"""Characters of a value that are shown without `--full`."""
ROUNDING = 1e-6
"""Nats by which single precision moves a margin, also of an engine whose noise floor is zero."""
SAME_CHARS = 40
"""Of these the last before two long lines part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceDiff:
    """What differs between two traces."""

    before: RunRecord
    after: RunRecord
    noise_floor: float
    """Nats within which margins count as equal: the larger of the two, `ROUNDING` at least."""
    changes: tuple[Change, ...]
    """In the order of the run; the place begins with the step."""
    missing_before: tuple[str, ...] = ()
    """What should be in the one trace and is not."""
    missing_after: tuple[str, ...] = ()
    """The same of the other."""

    @property
    def same(self) -> bool:
        """Whether nothing that counts differs, of what is there."""
        return not self.changes

    @property
    def is_whole(self) -> bool:
        """Whether both traces have all their parts."""
        return not (self.missing_before or self.missing_after)

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain JSON values."""
        return {
            "same": self.same,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "noise_floor": self.noise_floor,
            "missing": {"before": list(self.missing_before), "after": list(self.missing_after)},
            "changes": [each.to_dict() for each in self.changes],
        }


def diff(before: TraceRecord, after: TraceRecord, *, exact: bool = False) -> TraceDiff:
    """Compare two traces.

    Args:
        before: The one.
        after: The other; of a fork of the first only the steps that it has are compared.
        exact: Compare scores bit for bit.
    """
    floors = (before.run.noise_floor or 0.0, after.run.noise_floor or 0.0)
    floor = 0.0 if exact else max(*floors, ROUNDING)
    return TraceDiff(
        before=before.run,
        after=after.run,
        noise_floor=floor,
        changes=tuple(_differences(before, after, _within(_floors((before, after), floor)))),
        missing_before=before.missing,
        missing_after=after.missing,
    )


def _differences(before: TraceRecord, after: TraceRecord, close: Close) -> Iterator[Change]:
    one, other = (
        {node.step: node for node in each.nodes if node.status != "ERROR"}
        for each in (before, after)
    )
    # A fork has only the steps from which it went on.
    if (after.run.parent or "").startswith(before.run.trace_id):
        one = {step: node for step, node in one.items() if step in other}
    else:
        yield from changes(before.run.input, after.run.input, "request", close)
    scores = [_scores(before), _scores(after)]
    for step in [name for name in one if name in other]:
        pair = _comparable(one[step], other[step])
        for change in changes(*pair, step, close):
            if not _is_tie(change, scores, close):
                yield change
    if list(one) != list(other):
        yield Change("path", list(one), list(other))
    yield from changes(before.run.error, after.run.error, "error", close)


def _comparable(one: NodeRecord, other: NodeRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of two passes counts; the same prompts in another order are held against each other."""
    calls = [list(node.calls) for node in (one, other)]
    in_order = [sorted(each, key=_asked) for each in calls]
    if [_asked(call) for call in in_order[0]] == [_asked(call) for call in in_order[1]]:
        calls = in_order
    first, second = (
        {"output": node.output, "calls": [_counted(call) for call in each]}
        for node, each in zip((one, other), calls, strict=True)
    )
    return first, second


def _asked(call: CallRecord) -> tuple[str, str, tuple[str, ...]]:
    return call.kind, call.prompt, call.pixels


def _counted(call: CallRecord) -> dict[str, Any]:
    """What of a call counts: whether a cache or the engine answered does not."""
    # The answer of a scoring call is the larger label: the margin says the same, and how far.
    said = {"margin": call.margin} if call.logprobs else {"answer": call.answer}
    return {"kind": call.kind, "prompt": call.prompt, "images": list(call.pixels), **said}


def _floors(traces: Sequence[TraceRecord], nats: float) -> dict[str, float]:
    """By how much the engine's arithmetic moves each kind of number, by its last name.

    The largest of both traces; weights that were not recorded count as the defaults.
    """
    weighed = [_weights(trace.run) for trace in traces]
    return {
        "logit": nats,
        "margin": nats,
        "score": max(weights.score_change(nats) for weights in weighed),
        # The slope of the sigmoid is at most a quarter.
        "probability": max(abs(weights.calibration.a) for weights in weighed) * nats / 4,
    }


def _weights(run: RunRecord) -> CombineWeights:
    settings = run.provenance.get("srec.settings")
    found = settings.get("weights") if isinstance(settings, Mapping) else None
    return CombineWeights() if found is None else CombineWeights.model_validate(found)


def _within(floors: Mapping[str, float]) -> Close:
    """Numbers that rest on a margin are equal within their floor, all others bit for bit."""

    def close(path: str, one: float, other: float) -> bool:
        floor = floors.get(path.rpartition(".")[2], 0.0)
        return equal(path, one, other) or abs(one - other) <= floor

    return close


def _scores(trace: TraceRecord) -> dict[str, float]:
    """The final score of each candidate."""
    found: dict[str, float] = {}
    for node in trace.nodes:
        entries = node.output.get("candidates") if isinstance(node.output, dict) else None
        if isinstance(entries, list):
            found |= {entry["item_id"]: entry["score"] for entry in entries}
    return found


def _is_tie(change: Change, scores: Sequence[Mapping[str, float]], close: Close) -> bool:
    """Whether a list only swapped entries that the noise floor does not tell apart."""
    if not change.path.endswith(" order"):
        return False
    place = {name: index for index, name in enumerate(change.after)}
    swapped = (
        (one, other)
        for one, other in itertools.combinations(change.before, 2)
        if place[one] > place[other]
    )
    return all(
        one in each and other in each and close("score", each[one], each[other])
        for one, other in swapped
        for each in scores
    )


def diff_view(found: TraceDiff, *, full: bool = False) -> RenderableType:
    """The differences, and beside them what is shown but not counted.

    Args:
        found: The difference.
        full: Every change, every character.
    """
    shown = found.changes if full else found.changes[:CHANGES_SHOWN]
    lines: list[RenderableType] = [_facts(found)]
    lines += [
        words(f"missing in {run.trace_id[:12]}: {line}", "yellow")
        for run, missing in (
            (found.before, found.missing_before),
            (found.after, found.missing_after),
        )
        for line in missing
    ]
    if found.same and found.is_whole:
        lines.append(Text("the same", "green"))
    elif found.same:
        lines.append(Text("no difference in what is there", "yellow"))
    for change in shown:
        path = words(change.path, "bold", lines=True)
        if isinstance(change.before, float) and isinstance(change.after, float):
            lines.append(Text.assemble(path, "  ", *_moved(change.before, change.after)))
        else:
            lines += [path, *_sides(change, None if full else TEXT_CHARS)]
    if left := len(found.changes) - len(shown):
        lines.append(Text(f"… and {left} more (--full shows them)", "dim"))
    return Group(*lines)


def _moved(before: float, after: float) -> Iterator[Text]:
    """Yield a number before and after, with no more digits than tell them apart."""
    digits = next((n for n in range(4, 17) if f"{before:.{n}g}" != f"{after:.{n}g}"), 17)
    yield Text(f"{before:.{digits}g}", "red")
    yield Text(" → ", "dim")
    yield Text(f"{after:.{digits}g}", "green")


def _sides(change: Change, limit: int | None) -> Iterator[Text]:
    """Yield what was and what is; of texts with many lines those that differ."""
    if isinstance(change.before, str) and isinstance(change.after, str):
        pair = change.before.splitlines(), change.after.splitlines()
        marked = itertools.islice(difflib.unified_diff(*pair, n=0, lineterm=""), 2, None)
        sides = [(line[0], line[1:]) for line in marked if not line.startswith("@@")]
        texts = [text for _, text in sides]
        if limit is not None and max(map(len, texts), default=0) > limit:
            # The cut must not hide what differs: prompts do so at their end.
            same = len(beginning(texts)) - SAME_CHARS
            sides = [(mark, f"…{text[same:]}") for mark, text in sides] if same > 0 else sides
    else:
        _, before, after = change.row
        pairs = (("-", before, change.before), ("+", after, change.after))
        sides = [(mark, text) for mark, text, value in pairs if value is not MISSING]
    for mark, text in sides:
        style = "red" if mark == "-" else "green"
        yield Text.assemble((f"{mark} ", style), words(text, style, limit=limit))


def _facts(found: TraceDiff) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    sides = (found.before, found.after)
    for run in sides:
        table.add_column(words(run.trace_id[:12], "cyan"), overflow="fold")
    rows: tuple[tuple[str, Callable[[RunRecord], str]], ...] = (
        ("user", lambda run: run.user or "-"),
        ("engine", lambda run: f"{run.engine or '-'} {run.model or ''}"),
        ("code", lambda run: str(run.provenance.get("srec.code.version", "-"))),
        ("seconds", lambda run: seconds_text(run.seconds)),
        ("tokens", lambda run: "-" if run.tokens is None else str(run.tokens)),
        ("noise floor", lambda run: "-" if run.noise_floor is None else f"{run.noise_floor:.3g}"),
        ("list", _listed),
    )
    for name, read in rows:
        table.add_row(Text(name, "dim"), *(words(read(run)) for run in sides))
    return table


def _listed(run: RunRecord) -> str:
    """The first items of the list that a run gave, to see at once whether it moved."""
    items = run.output.get("items") if isinstance(run.output, Mapping) else None
    if not isinstance(items, list):
        return "-"
    ids = [str(each["item_id"] if isinstance(each, Mapping) else each) for each in items]
    return " ".join(ids[:ITEMS_SHOWN]) + (" …" if len(ids) > ITEMS_SHOWN else "") or "-"
