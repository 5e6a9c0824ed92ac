"""A trace as typed records: the run, its nodes, their calls; None stands for not recorded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from mllm_srec.agent.results import Tokens
from mllm_srec.llm.engine import Role
from mllm_srec.store.spans import Attribute, Event, Status
from mllm_srec.store.trace_notes import Annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """One message of a prompt as sent."""

    role: Role
    text: str
    images: tuple[str, ...] = ()
    """`sha256:...` of its pictures."""
    sizes: tuple[str, ...] = ()
    """`WIDTHxHEIGHT` of each, in pixels."""
    pixels: tuple[str, ...] = ()
    """Key of the pixels of each: there also where the picture itself was left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One prompt and its answer."""

    kind: str
    """`generate`, `score_labels` or `embed`."""
    prompt: str
    """As sent: each message below a line with its role."""
    messages: tuple[MessageRecord, ...] = ()
    """The same, message by message; none for an embedding."""
    images: tuple[str, ...] = ()
    """`sha256:...` of the pictures as sent; the trace file finds their bytes by it."""
    sizes: tuple[str, ...] = ()
    """`WIDTHxHEIGHT` of each picture, in pixels."""
    pixels: tuple[str, ...] = ()
    """Key of the pixels of each, its address where none was recorded."""
    answer: str | None = None
    """Raw; None where there was none."""
    problem: str | None = None
    """Why the answer was refused, as the repair told the model; None where it was not repaired."""
    repairs: bool = False
    """True for a second try, which shows the model its refused answer."""
    seconds: float = 0.0
    """Its part of the time of the batch it went in."""
    batch: int = 1
    """Calls that went together."""
    stored: bool = False
    """True where an earlier run had answered it."""
    tokens: Tokens = field(default_factory=Tokens)
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase, `queue`, `prefill`, `decode`; only those that the engine told."""
    logprobs: Mapping[str, float] = field(default_factory=dict)
    """Label to log-probability."""
    token_ids: Mapping[str, int] = field(default_factory=dict)
    """Label to its token; empty where the engine did not say."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What was asked for beside the prompt."""
    error: str = ""

    @property
    def margin(self) -> float | None:
        """First label's log-probability less the second's, in nats; None for other calls."""
        values = list(self.logprobs.values())
        return values[0] - values[1] if len(values) == 2 else None

    def labels(self, decimals: int) -> str:
        """The labels, their tokens in brackets, and their log-probabilities, in words."""
        tokens = {label: f" ({token})" for label, token in self.token_ids.items()}
        return ", ".join(
            f"{label}{tokens.get(label, '')} {value:.{decimals}f}"
            for label, value in self.logprobs.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """The call as plain JSON values."""
        return {
            "kind": self.kind,
            "prompt": self.prompt,
            "images": list(self.images),
            **({"image_sizes": list(self.sizes)} if self.sizes else {}),
            "answer": self.answer,
            **({"problem": self.problem} if self.problem is not None else {}),
            **({"repairs": True} if self.repairs else {}),
            "seconds": self.seconds,
            "batch": self.batch,
            "stored": self.stored,
            "tokens": tokens_dict(self.tokens),
            **({"phases": dict(self.phases)} if self.phases else {}),
            **({"logprobs": dict(self.logprobs)} if self.logprobs else {}),
            **({"token_ids": dict(self.token_ids)} if self.token_ids else {}),
            **({} if self.margin is None else {"margin": self.margin}),
            **({"error": self.error} if self.error else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord:
    """What one source of retrieval did."""

    source: str
    offset: float
    """Seconds from the start of the run."""
    seconds: float
    found: int
    """Items that it brought."""
    best: Mapping[str, float]
    """The first of them with the source's own score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One pass of one node."""

    name: str
    step: str
    """`NAME`, or `NAME:2` for the second pass: what `srec trace fork` takes."""
    depth: int
    """1 below the run, 2 below a node, ..."""
    offset: float
    """Seconds from the start of the run."""
    seconds: float | None
    """None where the process died in it."""
    status: Status
    tries: int = 1
    """2 where the pass before failed and this is the second try, ..."""
    store_seconds: float | None = None
    """Seconds in which the stores worked for it, outside of its calls; None where not recorded."""
    stores: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """How often it used each store, and for how many seconds."""
    error: str = ""
    input: Any = None
    output: Any = None
    dropped: Any = None
    """What retrieval left out: `{"counts": by reason, "named": items}`."""
    requested: Mapping[str, Any] = field(default_factory=dict)
    """What the last list that was made below it was asked for."""
    events: tuple[Event, ...] = ()
    calls: tuple[CallRecord, ...] = ()
    searches: tuple[SearchRecord, ...] = ()

    @property
    def tokens(self) -> Tokens:
        """Of all its calls."""
        return sum((call.tokens for call in self.calls), Tokens())

    @property
    def engine_seconds(self) -> float:
        """Seconds in which its calls were with the engine or waited for it."""
        return sum(call.seconds for call in self.calls)

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase that a call of each batch took on average; `other` is what is left.

        Calls that go together run side by side, so their times are not added up. Empty where the
        engine did not say.
        """
        names = dict.fromkeys(name for call in self.calls for name in call.phases)
        told = {
            name: sum(call.phases.get(name, 0.0) / call.batch for call in self.calls)
            for name in names
        }
        left = self.engine_seconds - sum(told.values())
        return {**told, "other": max(left, 0.0)} if told else {}

    @property
    def fallbacks(self) -> int:
        """Texts that code put in the place of the model's."""
        return _fallbacks(self.output)

    def to_dict(self) -> dict[str, Any]:
        """The node as plain JSON values."""
        return {
            "name": self.name,
            "step": self.step,
            "depth": self.depth,
            "offset": self.offset,
            "seconds": self.seconds,
            "engine_seconds": self.engine_seconds,
            "store_seconds": self.store_seconds,
            "stores": {n: {"uses": uses, "seconds": s} for n, (uses, s) in self.stores.items()},
            **({"phases": self.phases} if self.phases else {}),
            "status": self.status,
            "tries": self.tries,
            "fallbacks": self.fallbacks,
            "error": self.error,
            "input": self.input,
            "output": self.output,
            **({} if self.dropped is None else {"dropped": self.dropped}),
            **({"searches": [asdict(each) for each in self.searches]} if self.searches else {}),
            "events": [
                {"name": e.name, "time_ns": e.time_ns, **_lists(e.attributes)} for e in self.events
            ],
            "tokens": tokens_dict(self.tokens),
            "calls": [call.to_dict() for call in self.calls],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The root of a trace, as a list of traces shows it; None stands for what was not recorded."""

    trace_id: str
    name: str
    user: str | None
    started: datetime
    seconds: float | None
    status: Status
    error: str = ""
    engine: str | None = None
    model: str | None = None
    calls: int | None = None
    tokens: int | None = None
    score: float | None = None
    """The best margin between the two labels that the model gave in this run, in nats."""
    noise_floor: float | None = None
    """Nats by which the engine's own arithmetic moved a margin when it started."""
    parent: str | None = None
    """Trace that this one was forked from, as `ID STEP`."""
    edits: Any = None
    """What the fork changed: `{"state": fields, "replace": [[old, new], ...]}`; under `kept`, the
    steps whose recorded results it took over."""
    path: tuple[str, ...] = ()
    """Nodes in the order in which they started."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What it was made with: versions, hashes, settings."""
    input: Any = None
    output: Any = None

    def to_dict(self) -> dict[str, Any]:
        """The run as plain JSON values."""
        return {
            "trace_id": self.trace_id,
            "run": self.name,
            "user": self.user,
            "started": self.started.isoformat(),
            "seconds": self.seconds,
            "status": self.status,
            "error": self.error,
            "engine": self.engine,
            "model": self.model,
            "calls": self.calls,
            "tokens": self.tokens,
            "score": self.score,
            "noise_floor": self.noise_floor,
            **({"parent": self.parent, "edits": self.edits} if self.parent else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecord:
    """A whole trace."""

    run: RunRecord
    nodes: tuple[NodeRecord, ...]
    missing: tuple[str, ...] = ()
    """What should be there and is not: lost, unfinished, left out."""
    annotations: tuple[Annotation, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The trace as plain JSON values."""
        return {
            **self.run.to_dict(),
            "path": list(self.run.path),
            "input": self.run.input,
            "output": self.run.output,
            "provenance": dict(self.run.provenance),
            "missing": list(self.missing),
            "annotations": [
                {"verdict": a.verdict, "note": a.note, "kind": a.kind, "time_ns": a.time_ns}
                for a in self.annotations
            ],
            "nodes": [node.to_dict() for node in self.nodes],
        }


def tokens_dict(tokens: Tokens) -> dict[str, int]:
    """Tokens as plain JSON values."""
    return {
        "calls": tokens.calls,
        "stored": tokens.stored,
        "prompt": tokens.prompt,
        "completion": tokens.completion,
        "cached": tokens.cached,
    }


def _fallbacks(value: object) -> int:
    """Marks of a fallback anywhere in an output."""
    if isinstance(value, Mapping):
        own = sum(value.get(name) is True for name in ("fallback", "profile_fallback"))
        return own + sum(map(_fallbacks, value.values()))
    return sum(map(_fallbacks, value)) if isinstance(value, list) else 0


def _lists(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    return {n: list(v) if isinstance(v, tuple) else v for n, v in attributes.items()}
