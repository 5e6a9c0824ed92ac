"""State, update and context of the recommendation graph.

State is plain data (ids, texts, numbers): it may be checkpointed, and holds no picture bytes.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

# Pydantic reads no other before Python 3.12.
from typing_extensions import TypedDict

from mllm_srec.agent.calls import Calls
from mllm_srec.agent.tracing.attributes import provenance
from mllm_srec.agent.tracing.tracer import Run, Tracer
from mllm_srec.llm.pictures import PictureBudget
from mllm_srec.store.home import Home
from mllm_srec.store.manifest import IndexFacts
from mllm_srec.tools.collaborative import CollaborativeModel
from mllm_srec.tools.facets import FacetModel
from mllm_srec.tools.feedback import Wish
from mllm_srec.tools.ranking import CombineWeights
from mllm_srec.tools.retrieval import Candidate, Source

YOUR_PICTURE = "your picture"
"""Stands in a history, and in evidence, for the picture that the caller gave: it has no item id."""
PROMPTS = ("look", "fuse", "summarize_preferences", "profile_user", "score_target", "explain")
"""The prompts of the chain; their hash stands in every trace."""
Verdict = Literal["liked", "neutral", "disliked"]
Path = Literal["warm", "cold", "empty", "unknown"]
"""`warm` has a history, `cold` a very short one, `empty` none yet; `unknown` is not in the log."""
Part = Literal["picture", "text", "temporal", "profile", "chain"]
"""What an ablation takes away: what only pictures show, or only texts tell; the windows, for one
flat history; the profile in the scoring prompt; or profile and preference, for the raw history."""


class Event(TypedDict):
    """One interaction as the chain sees it."""

    item_id: str
    verdict: Verdict
    position: int
    rating: float | None
    timestamp: int | None


class PreferenceState(TypedDict):
    """The dynamic preference after one window."""

    start: int
    """Index of the window's first event in the history."""
    stop: int
    preference: dict[str, list[str]]
    fallback: bool


class Statement(TypedDict):
    """One line of the profile, with the interactions that it rests on."""

    value: str
    strength: str
    item_ids: list[str]


class Scored(TypedDict):
    """A candidate with everything that its place in the list rests on."""

    item_id: str
    retrieval_rank: int
    retrieval_score: float
    sources: dict[Source, float]
    features: dict[Source, float]
    logit: float | None
    """log p(Yes) - log p(No) of the model; None before scoring."""
    probability: float | None
    """Calibrated probability that the user likes the item next."""
    score: float
    """What the list is ordered by: retrieval and model, weighed together."""


def scored(
    candidate: Candidate, logit: float | None, probability: float | None, score: float
) -> Scored:
    """A candidate as the state holds it."""
    return Scored(
        item_id=candidate.item_id,
        retrieval_rank=candidate.retrieval_rank,
        retrieval_score=candidate.retrieval_score,
        sources=candidate.sources,
        features=candidate.features,
        logit=logit,
        probability=probability,
        score=score,
    )


def unscored(entry: Scored) -> Candidate:
    """The candidate as retrieval made it."""
    return Candidate(
        item_id=entry["item_id"],
        retrieval_rank=entry["retrieval_rank"],
        retrieval_score=entry["retrieval_score"],
        sources=entry["sources"],
        features=entry["features"],
    )


class Reason(TypedDict):
    """Why one item is recommended."""

    item_id: str
    reason: str
    evidence: list[str]
    fallback: bool
    struck: list[str]
    """Values that the model called a preference of late, falsely: they were taken out."""


def _extend(old: list[Any], new: list[Any]) -> list[Any]:
    return old + new


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the nodes read and add to."""

    user_id: str
    k: int = 10
    """Length of the list; 0 ranks the candidates and explains none."""
    as_of: int | None = None
    """Only interactions before this position count; None takes the whole history."""
    given_history: list[Event] | None = None
    """A history given by the caller, in place of a stored one."""
    picture: str | None = None
    """Content hash of the picture that stands in the given history as `YOUR_PICTURE`."""
    allowed: list[str] | None = None
    """Items that may be recommended; None allows the whole catalogue."""
    wishes: list[Wish] = field(default_factory=list)
    """What the user said to want more and less of."""
    now: int | None = None
    """Time of the request, seconds since 1970 UTC; None where the log has no times."""

    path: Path = "warm"
    history: list[Event] = field(default_factory=list)
    pictured: dict[str, Any] | None = None
    """What the caller's picture shows: the fields of a `FusedItem`."""
    windows: Annotated[list[PreferenceState], _extend] = field(default_factory=list)
    profile: list[Statement] = field(default_factory=list)
    profile_fallback: bool = False
    candidates: list[Scored] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader should know of how the candidates were chosen."""
    reasons: list[Reason] = field(default_factory=list)

    @property
    def fallback_marks(self) -> list[bool]:
        """Whether a plain form stands in for each window and, last, for the profile."""
        return [*(window["fallback"] for window in self.windows), self.profile_fallback]


class Update(TypedDict, total=False):
    """What a node may return."""

    path: Path
    history: list[Event]
    pictured: dict[str, Any]
    windows: list[PreferenceState]
    profile: list[Statement]
    profile_fallback: bool
    candidates: list[Scored]
    notes: list[str]
    reasons: list[Reason]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a deployment may choose."""

    window_size: int = 5
    """Interactions a window."""
    window_step: int = 5
    """Interactions between the starts of two windows."""
    candidates: int = 50
    """Items that retrieval hands to the scorer."""
    liked_rating: float = 4.0
    """Ratings at or above count as liked; without ratings every interaction does."""
    disliked_rating: float = 2.0
    """Ratings at or below count as disliked."""
    ingest_batch: int = 128
    """Items fused and committed together."""
    without: Part | None = None
    """A part of the chain that is left out, to measure what it is worth (`srec evaluate`)."""
    scoring_picture: bool = False
    """Show the model each candidate's own picture when it scores, besides the description."""

    def __post_init__(self) -> None:
        if not 1 <= self.window_step <= self.window_size:
            raise ValueError(
                f"window_step {self.window_step!r} must lie between 1 and window_size "
                f"{self.window_size!r}: a larger step would skip interactions"
            )
        for name in ("liked_rating", "disliked_rating"):
            value: float = getattr(self, name)
            if not math.isfinite(value):
                raise ValueError(f"{name} {value!r} must be a finite number")
        if self.disliked_rating >= self.liked_rating:
            raise ValueError(
                f"disliked_rating {self.disliked_rating!r} must be below liked_rating "
                f"{self.liked_rating!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the nodes depend on; never checkpointed."""

    home: Home
    calls: Calls
    collaborative: Callable[[], CollaborativeModel]
    facets: Callable[[], FacetModel]
    """Fitted when first asked for, both: describing items does without them."""
    weights: CombineWeights
    budget: PictureBudget
    tracer: Tracer
    index: IndexFacts | None = None
    """What the vectors are made with; None before there are any."""
    settings: Settings = field(default_factory=Settings)

    def run(
        self,
        name: str,
        *,
        user: str | None = None,
        session: str | None = None,
        inputs: object = None,
    ) -> AbstractContextManager[Run]:
        """Trace what happens inside as one run, whose root says what it was made with."""
        settings = {"chain": self.settings, "weights": self.weights, "pictures": self.budget}
        return self.tracer.run(
            name,
            user=user,
            session=session,
            inputs=inputs,
            engine=self.calls.info,
            facts=provenance(index=self.index, prompts=PROMPTS, settings=settings),
        )
