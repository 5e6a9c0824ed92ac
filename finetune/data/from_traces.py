"""`srec finetune data --from-traces`: from turns that people judged to what a model can learn.

Answers of good turns become SFT records. Where a prompt was answered well in one turn and badly in
another (a fork of a bad turn that came out good, say), or refused and then repaired, the two
answers become a preference pair, in the conversational form that TRL's `DPOTrainer` reads.

A turn knows its user's whole history, so a model that learned from turns must not be measured on
the same users' next items.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mllm_srec.agent.inspection.edits import edited
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.records import CallRecord, NodeRecord, TraceRecord
from mllm_srec.agent.inspection.state import Values, states
from mllm_srec.agent.nodes.score_targets import YES
from mllm_srec.agent.tracing.attributes import REDACTED
from mllm_srec.finetune.data.records import AnyRecord, Record, RecordGroup, Task, turns
from mllm_srec.finetune.data.teacher import hash_fraction
from mllm_srec.finetune.data.wording import other_prompts
from mllm_srec.finetune.data.write import write_split
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.llm.engine import Message, Prompt
from mllm_srec.store.home import Home
from mllm_srec.store.spans import LOST
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.traces import TraceStore

PAIRS = "pairs.jsonl"
"""File of the preference pairs, beside the SFT records."""
TASKS: Mapping[str, Task] = {
    "fuse_items": "fuse",
    "summarize_preferences": "summarize_preferences",
    "profile_user": "profile_user",
    "explain": "explain",
    "understand": "understand",
}
"""What the texts of each node teach."""
VALIDATION_SHARE = 0.05
"""Share of the users that only measure; one at least, where there are several."""
OTHER_PROMPTS = "another version of the prompts"


@dataclass(frozen=True, slots=True)
class Lesson:
    """An answer that a turn was made of."""

    origin: str
    task: Task
    prompt: Prompt
    answer: str
    refused: str | None = None
    """What the model said first, where this answer is a repair."""


@dataclass(frozen=True, slots=True)
class TracesReport:
    """What was read and written."""

    good: int
    """Turns."""
    bad: int
    train: int
    validation: int
    pairs: int
    tasks: dict[str, int]
    left_out: dict[str, int]
    """Answers that nothing is learned from, by reason."""


@dataclass(slots=True)
class _Judged:
    """The answers of all judged turns; each prompt's answers in the order of the turns."""

    good: dict[tuple[Prompt, str], Lesson] = field(default_factory=dict)
    bad: dict[tuple[Prompt, str], Lesson] = field(default_factory=dict)
    liked: list[tuple[str, list[Prompt]]] = field(default_factory=list)
    """Scoring prompts of what a good turn showed, with the origin."""
    disliked: set[Prompt] = field(default_factory=set)
    """Scoring prompts of what bad turns showed."""
    turns: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def write_traces(home: Home, out: Path, *, seed: int) -> TracesReport:
    """Write `train.jsonl`, `validation.jsonl`, `pairs.jsonl`, origins and `data.json`.

    All that is learned of one user is trained on or measured with.

    Args:
        home: Its traces are read.
        out: Made when missing.
        seed: Of the order of the records.

    Raises:
        FinetuneError: Nothing of use was judged.
        TraceError: The home has no traces, or they cannot be read.
        StoreError: The disk is full; what the folder held before is whole.
    """
    with TraceStore.open(home.traces_file, create=False) as store:
        judged = _read(store)
    records = list(_records(judged))
    pairs = list(_pairs(judged))
    if not records and not pairs:
        raise FinetuneError(
            f"nothing to learn from in {str(home.traces_file)!r}: judge turns first, "
            "`srec trace annotate ID good`"
        )
    about = {"from": "traces", "seed": seed, "validation_share": VALIDATION_SHARE}
    lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
    written = write_split(_split(records), out, seed=seed, settings=about, more={PAIRS: lines})
    return TracesReport(
        good=judged.turns["good"],
        bad=judged.turns["bad"],
        train=written.train,
        validation=written.validation,
        pairs=len(pairs),
        tasks=written.tasks,
        left_out=dict(judged.left_out),
    )


def _split(records: Sequence[tuple[str, AnyRecord]]) -> dict[str, list[tuple[str, AnyRecord]]]:
    """All records of a user on one side; by hash, so that more turns move nobody."""
    origins = sorted(
        {origin for origin, _ in records}, key=lambda each: hash_fraction(each, "validation")
    )
    count = math.ceil(VALIDATION_SHARE * len(origins)) if len(origins) > 1 else 0
    measured = set(origins[:count])
    return {
        "train": [each for each in records if each[0] not in measured],
        "validation": [each for each in records if each[0] in measured],
    }


def _read(store: TraceStore) -> _Judged:
    judged = _Judged()
    roots = {
        root.trace_id: root.start_ns
        for verdict in ("good", "bad")
        for root in find(store, TraceFilter(verdict=verdict))
    }
    for trace_id in sorted(roots, key=lambda each: roots[each]):
        trace = load_trace(store, trace_id)
        # Who judges twice has changed their mind.
        verdicts = [each.verdict for each in trace.annotations if each.verdict != "note"]
        judged.turns[verdicts[-1]] += 1
        known = judged.good if verdicts[-1] == "good" else judged.bad
        for lesson in _lessons(trace, _originals(store, trace), judged.left_out):
            known.setdefault((lesson.prompt, lesson.answer), lesson)
        for prompts in _shown(trace):
            if verdicts[-1] == "good":
                judged.liked.append((_origin(trace), prompts))
            else:
                judged.disliked.update(prompts)
    return judged


def _origin(trace: TraceRecord) -> str:
    run = trace.run
    return f"user:{run.user}" if run.user else f"trace:{run.trace_id}"


def _lessons(
    trace: TraceRecord, originals: Mapping[Prompt, Prompt], left_out: Counter[str]
) -> Iterator[Lesson]:
    """Yield the answers that the nodes of a turn took, under the prompts of the product."""
    for node in trace.nodes:
        if node.name not in TASKS or node.status == "ERROR":
            continue
        for call in node.calls:
            if call.kind != "generate" or call.problem is not None:
                continue
            if reason := _useless(call, node):
                left_out[reason] += 1
                continue
            lesson = _lesson(_origin(trace), TASKS[node.name], call, originals)
            record = Record.of(lesson.task, lesson.prompt, lesson.answer)
            if list(other_prompts(record)):
                left_out[OTHER_PROMPTS] += 1
                continue
            yield lesson


def _useless(call: CallRecord, node: NodeRecord) -> str:
    """Why an answer cannot be learned from, empty where it can."""
    if not (call.answer or "").strip():
        return "no answer"
    texts = (call.prompt, call.answer or "")
    if any(mark in text for mark in (REDACTED, LOST) for text in texts):
        return "redacted or lost"
    if call.images:
        return "with pictures"
    # The trace does not say which of several repairs was taken; of `fuse_items`, of none.
    if call.repairs and (node.fallbacks or node.name == "fuse_items"):
        return "a repair that may have been refused, too"
    return ""


def _lesson(
    origin: str, task: Task, call: CallRecord, originals: Mapping[Prompt, Prompt]
) -> Lesson:
    prompt, refused = _prompt(call), None
    if call.repairs:
        *asked, said, _ = prompt.messages
        prompt, refused = Prompt(tuple(asked)), said.text
    return Lesson(origin, task, originals.get(prompt, prompt), call.answer or "", refused)


def _prompt(call: CallRecord) -> Prompt:
    return Prompt(tuple(Message(each.role, each.text) for each in call.messages))


def _originals(store: TraceStore, trace: TraceRecord) -> dict[Prompt, Prompt]:
    """Prompts that a fork asked with other words, each with that of its parent."""
    edits = trace.run.edits if isinstance(trace.run.edits, Mapping) else {}
    replacements = [(str(old), str(new)) for old, new in edits.get("replace", [])]
    if not replacements:
        return {}
    try:
        parent = load_trace(store, (trace.run.parent or "").partition(" ")[0])
    except TraceError:
        return {}  # Deleted since: prompts in other words are left out.
    prompts = (_prompt(call) for node in parent.nodes for call in node.calls if not call.repairs)
    return {edited(prompt, replacements)[0]: prompt for prompt in prompts}


def _shown(trace: TraceRecord) -> Iterator[list[Prompt]]:
    """Yield, for each scoring of a turn, the prompts of the items that it showed."""
    shown = {
        str(reason.get("item_id"))
        for node in trace.nodes
        if node.name == "explain" and isinstance(node.output, Mapping)
        for reason in node.output.get("reasons", [])
    }
    for node, before, _ in states(trace):
        if node.name == "score_targets" and node.status != "ERROR":
            yield list(_scored(node, before, shown))


def _scored(node: NodeRecord, before: Values, shown: set[str]) -> Iterator[Prompt]:
    calls = [call for call in node.calls if call.logprobs]
    candidates = before.get("candidates", [])
    if len(calls) != len(candidates):
        return
    for candidate, call in zip(candidates, calls, strict=True):
        if candidate["item_id"] in shown and not _useless(call, node):
            yield _prompt(call)


def _records(judged: _Judged) -> Iterator[tuple[str, AnyRecord]]:
    """Yield what to imitate: answers of good turns, and Yes to what they showed.

    What was also found bad is no example.
    """
    for key, lesson in judged.good.items():
        if key not in judged.bad:
            yield lesson.origin, Record.of(lesson.task, lesson.prompt, lesson.answer)
    for origin, prompts in judged.liked:
        if left := [prompt for prompt in dict.fromkeys(prompts) if prompt not in judged.disliked]:
            group = RecordGroup.of("score_target", left, [YES] * len(left))
            if list(other_prompts(group)):
                judged.left_out[OTHER_PROMPTS] += len(left)
            else:
                yield origin, group


def _pairs(judged: _Judged) -> Iterator[dict[str, Any]]:
    """Yield each good answer against each bad or refused one to the same prompt."""
    rejected: dict[Prompt, dict[str, None]] = {}
    for prompt, answer in judged.bad:
        rejected.setdefault(prompt, {})[answer] = None
    for (prompt, answer), lesson in judged.good.items():
        worse = [*rejected.get(prompt, {}), *([] if lesson.refused is None else [lesson.refused])]
        for other in dict.fromkeys(worse):
            if other != answer and (prompt, answer) not in judged.bad:
                yield _pair(prompt, answer, other)


def _pair(prompt: Prompt, chosen: str, rejected: str) -> dict[str, Any]:
    parts = {
        "prompt": prompt,
        "chosen": Prompt((Message("assistant", chosen),)),
        "rejected": Prompt((Message("assistant", rejected),)),
    }
    return {name: [turn.model_dump() for turn in turns(each)] for name, each in parts.items()}
