"""Candidates from the whole catalogue: five sources, one union, one blended score.

Each source brings its best items; every feature is then known for every candidate of the union, so
that the blend compares like with like.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mllm_srec.store.records import FusedItem, Interaction
from mllm_srec.tools.collaborative import CollaborativeModel
from mllm_srec.tools.facets import FacetModel
from mllm_srec.tools.likes import likes
from mllm_srec.tools.sources import Dropped, Reason, Search, Sources

Source = Literal["followed", "facets", "taste", "recent", "popular"]
SOURCES: tuple[Source, ...] = get_args(Source)

RECENT_LIKES = 5
"""Latest likes whose mean vector the source `recent` looks near to."""

POPULAR_SHARE = 0.2
"""Candidates that the source `popular` brings, as a share of those asked for; more where the other
sources find too few."""


class Vectors(Protocol):
    """What retrieval asks of the representation index."""

    def nearest(
        self, vector: NDArray[np.float32], k: int, allowed: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k nearest items to a vector (D,) with cosine distances, nearest first."""
        ...

    def vectors(self, ids: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Vectors (D,) by item; items without one are left out."""
        ...


class RetrievalWeights(BaseModel):
    """Weights of the features in the retrieval score; `srec finetune combine` fits them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    followed: float = 1.0
    """Of the collaborative score, 0 to about 1.5 for the best."""
    facets: float = 0.3
    """Of the weighed log odds of the item's values among the user's likes."""
    taste: float = 0.1
    """Of the similarity to the preference text, standardised over the user's candidates."""
    recent: float = 0.15
    """Of the similarity to the recently liked items, standardised likewise."""
    popular: float = 0.02
    """Of the log popularity, 0 for the most popular item."""


@dataclass(frozen=True, slots=True)
class Query:
    """Whom to retrieve for."""

    history: Sequence[Interaction] = ()
    """In time order; its items are left out of the candidates."""
    preference: NDArray[np.float32] | None = None
    """Vector (D,) of the preference text; None where nothing is known."""
    allowed: frozenset[str] | None = None
    """Ids that may be found. None takes all that have a description or a vector: neither may then
    hold an item that was deleted."""
    strangers: Mapping[str, tuple[FusedItem, NDArray[np.float32]]] = field(default_factory=dict)
    """Things of the history that are not in the catalogue: description and vector (D,)."""
    seen: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note what was seen, liked or not."""
        object.__setattr__(self, "seen", frozenset(one.item_id for one in self.history))

    def why_not(self, item_id: str) -> Reason | None:
        """Why an item may not be a candidate; None where it may."""
        if item_id in self.seen:
            return "seen before"
        return None if self.allowed is None or item_id in self.allowed else "not allowed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item that may be recommended, and where it came from."""

    item_id: str
    retrieval_rank: int
    """1 for the first."""
    retrieval_score: float
    sources: dict[Source, float]
    """The sources that brought it, with their own scores: collaborative score, log odds, cosine
    similarities, log popularity."""
    features: dict[Source, float] = field(repr=False)
    """What the weights multiply, known for every candidate, see `RetrievalWeights`."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found for one user, and how."""

    candidates: list[Candidate]
    """Best first."""
    dropped: list[Dropped]
    """The best items of each reason that are no candidates, best first."""
    dropped_counts: Mapping[Reason, int]
    """All dropped items, those that are not named too."""
    searches: list[Search]
    """What each source did, in the order in which they were asked."""


@dataclass(frozen=True, slots=True)
class Retriever:
    """The sources and the weights of retrieval."""

    collaborative: CollaborativeModel
    facets: FacetModel
    index: Vectors
    weights: RetrievalWeights = field(default_factory=RetrievalWeights)
    min_rating: float | None = None
    """Lowest rating that is a like; None takes every interaction as one."""

    def retrieve(self, query: Query, *, count: int = 100) -> Retrieval:
        """Find the best candidates of a user, best first, ties by item id.

        Args:
            query: Whom to retrieve for.
            count: Candidates; fewer only where fewer items are left to find.
        """

        def why_not(item_id: str) -> Reason | None:
            # What has no description yet cannot be scored; the index knows only what has one.
            known = item_id in self.facets.rows
            return query.why_not(item_id) or (None if known else "not described")

        liked, asking, items = likes(query.history, self.min_rating), Sources(), self.collaborative
        with asking.asked("followed", count, why_not) as take:
            [following] = items.following([liked])
            take(_best(items.item_ids, following, above=0.0))
        with asking.asked("facets", count, why_not) as take:
            beside = {name: fused for name, (fused, _) in query.strangers.items()}
            common = self.facets.scores(liked, beside)
            take(_best(self.facets.item_ids, common, above=0.0))
        with asking.asked("taste", count, query.why_not) as take:
            take(self._near(query, query.preference, count))
        with asking.asked("recent", count, query.why_not) as take:
            recent = self._recent(liked, query)
            take(self._near(query, recent, count))
        missing = count - len(set().union(*asking.found.values()))
        popular = max(round(count * POPULAR_SHARE), count if missing > 0 else 0)
        with asking.asked("popular", popular, why_not) as take:
            popularity = items.log_popularity
            take(_best(items.item_ids, popularity))
        union = sorted(set().union(*asking.found.values()))
        targets: dict[Source, NDArray[np.float32] | None] = {
            "taste": query.preference,
            "recent": recent,
        }
        features = self._features(union, following, common, popularity, targets)
        scores = features @ np.array([getattr(self.weights, source) for source in SOURCES])
        # Stable, and the union is sorted by id: equal scores keep the order of ids.
        order = np.argsort(-scores, kind="stable").tolist()
        found = asking.found
        candidates = [
            Candidate(
                item_id=union[row],
                retrieval_rank=rank,
                retrieval_score=float(scores[row]),
                sources={
                    each: found[each][union[row]] for each in SOURCES if union[row] in found[each]
                },
                features=dict(zip(SOURCES, features[row].tolist(), strict=True)),
            )
            for rank, row in enumerate(order[:count], 1)
        ]
        dropped, counts = asking.dropped([union[row] for row in order], count)
        return Retrieval(candidates, dropped, counts, asking.searches)

    def _recent(self, liked: Sequence[str], query: Query) -> NDArray[np.float32] | None:
        """Mean vector (D,) of the latest likes, later ones counting more; None without any."""
        latest = liked[-RECENT_LIKES:][::-1]
        beside = {name: vector for name, (_, vector) in query.strangers.items()}
        vectors = {**self.index.vectors(latest), **beside}
        recency = self.collaborative.settings.recency
        weighted = [
            recency**age * vectors[item_id]
            for age, item_id in enumerate(latest)
            if item_id in vectors
        ]
        return np.sum(weighted, axis=0, dtype=np.float32) if weighted else None

    def _near(
        self, query: Query, vector: NDArray[np.float32] | None, count: int
    ) -> Iterator[tuple[str, float]]:
        """Yield items with their similarity to a vector, nearest first; nothing without one."""
        if vector is not None and vector.any():
            # Seen items are dropped afterwards: a filter in the index costs more than finding them.
            pairs = self.index.nearest(vector, count + len(query.seen), query.allowed)
            yield from ((item_id, 1.0 - distance) for item_id, distance in pairs)

    def _features(
        self,
        union: Sequence[str],
        following: NDArray[np.float32],
        common: NDArray[np.float64],
        popularity: NDArray[np.float64],
        targets: Mapping[Source, NDArray[np.float32] | None],
    ) -> NDArray[np.float64]:
        """Every feature of every candidate (C, 5), in the order of `SOURCES`."""
        columns: dict[Source, NDArray[np.float64]] = {
            "followed": _picked(union, self.collaborative.rows, following, missing=0.0),
            "facets": _picked(union, self.facets.rows, common, missing=0.0),
        }
        lowest = popularity.min(initial=0.0)
        popular = _picked(union, self.collaborative.rows, popularity, missing=lowest)
        columns["popular"] = popular - popularity.max(initial=lowest)
        wanted = any(vector is not None for vector in targets.values())
        vectors = self.index.vectors(union) if wanted else {}
        columns |= {
            source: _standardised(union, vectors, target) for source, target in targets.items()
        }
        return np.stack([columns[source] for source in SOURCES], axis=1)


def _best(
    ids: Sequence[str], scores: NDArray[np.floating], above: float = -np.inf
) -> Iterator[tuple[str, float]]:
    """Yield items with their scores (N,), best first, equals in the order of ids (N)."""
    for row in np.argsort(-scores, kind="stable").tolist():
        if scores[row] <= above:
            return
        yield ids[row], float(scores[row])


def _picked(
    union: Sequence[str],
    rows: Mapping[str, int],
    scores: NDArray[np.floating],
    missing: float,
) -> NDArray[np.float64]:
    """The scores (C,) of some items out of those of all (N,)."""
    return np.array([scores[rows[item]] if item in rows else missing for item in union], np.float64)


def _standardised(
    union: Sequence[str],
    vectors: Mapping[str, NDArray[np.float32]],
    target: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    """Cosine similarities (C,) to a vector with mean 0 and deviation 1; 0 without a vector.

    How far apart similarities lie differs from model to model, often by ten times.
    """
    result = np.zeros(len(union))
    rows = [row for row, item_id in enumerate(union) if item_id in vectors]
    if target is None or not target.any() or not rows:
        return result
    matrix = np.stack([vectors[union[row]] for row in rows]).astype(np.float64)
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(target)
    similarity = matrix @ target / np.maximum(lengths, 1e-12)
    deviation = float(similarity.std())
    if deviation > 1e-9:
        result[rows] = (similarity - similarity.mean()) / deviation
    return result
