"""What the program hands back: typed, frozen results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mllm_srec.agent.json_results import JsonResult

Progress = Callable[[str, int, int | None], None]
"""Called as `progress(stage, done, total)`; `total` is None while it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport(JsonResult):
    """What `ingest` took, made and refused."""

    schema_version: ClassVar[int] = 1
    called: ClassVar[str] = "a report of ingest"

    items: int
    interactions: int
    users: int
    repeats: int = 0
    """Further rows of a user with an item, of which the first is taken; they are not refused."""
    partly_timed_users: int = 0
    """Users whose times do not count, as only some of their rows have one: the order of these is
    that of the file."""
    untimed_rows: int = 0
    """Rows of these users without a time."""
    fused: int
    """Items that have a representation now."""
    rejected: int
    """Rows refused; each stands in the reject file with its reason."""
    pictures_rejected: int
    texts_cut: int = 0
    """Texts taken in part, such as titles over 2,000 characters."""
    left_out: int
    """Rows, items and interactions, beyond `--limit-items`: not refused, not wanted."""
    fallbacks: int
    """Texts that code put in the place of the model's."""
    seconds: float
    engine: str
    reject_file: str | None = None
    """Path of the reject file, None where nothing was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One interaction of the user's history, as a person reads it."""

    item_id: str
    title: str
    line: str = ""
    """The fused description in one line."""
    rating: float | None = None
    timestamp: int | None = None
    """Seconds since 1970-01-01 UTC; None where the log gives an order only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The preference after one window of the history."""

    item_ids: tuple[str, ...]
    """Items of the window, oldest first."""
    preference: str
    """The preference text as carried to the next window."""
    rising: tuple[str, ...] = ()
    fading: tuple[str, ...] = ()
    fallback: bool = False
    """True where code put a plain form in the place of the model's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One stable taste, and the interactions it rests on."""

    facet: str
    strength: str
    """`loves`, `likes`, `leans` or `dislikes`."""
    evidence: tuple[str, ...] = ()
    """Item ids of the supporting interactions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The stable taste of a user."""

    text: str
    """As the scoring prompt reads it."""
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendedItem:
    """One recommended item with its reason."""

    item_id: str
    title: str
    score: float
    retrieval_rank: int
    """1 is the first of the retrieval, before the model looked."""
    reason: str
    evidence: tuple[str, ...] = ()
    """Item ids of the user's history that the reason rests on."""
    sources: tuple[str, ...] = ()
    """Retrieval sources that proposed it."""
    line: str = ""
    """The fused description in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What one node asked of the model."""

    calls: int = 0
    """Prompts that went to the engine."""
    stored: int = 0
    """Prompts that an earlier run had answered: the engine was not asked."""
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    """Prompt tokens found in the engine's prefix cache."""

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            calls=self.calls + other.calls,
            stored=self.stored + other.stored,
            prompt=self.prompt + other.prompt,
            completion=self.completion + other.completion,
            cached=self.cached + other.cached,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation(JsonResult):
    """The answer to "what should this user see next, and why?"."""

    schema_version: ClassVar[int] = 1
    called: ClassVar[str] = "a recommendation"

    user: str
    engine: str
    """Kind of engine that answered: `vllm-server`, `vllm`, `transformers`, ..."""
    model: str
    trace_id: str
    preference: str
    """Never empty: for a cold user it says so."""
    profile: Profile
    items: tuple[RecommendedItem, ...]
    """Best first."""
    windows: tuple[Window, ...] = ()
    """How the preference moved, oldest first."""
    history: tuple[HistoryEntry, ...] = ()
    """The history that was read, oldest first."""
    fallbacks: int = 0
    """Texts that code put in the place of the model's."""
    noise_floor: float | None = None
    """Scores closer than this are equal: the engine's own arithmetic moves them that far."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds: `total`, and one entry a node."""
    engine_seconds: float = 0.0
    """Seconds of the total during which at least one call was with the engine."""
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    """Node to its calls and tokens."""
    path: tuple[str, ...] = ()
    """Nodes in the order in which they ran."""
    notes: tuple[str, ...] = ()
    """What a reader should know: a cold user, a degraded engine, a lost trace."""
