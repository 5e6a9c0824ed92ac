"""Candidates from the whole catalogue: five sources, one union, one blended score.

Each source brings its best items; every feature is then known for every candidate of the union, so
that the blend compares like with like.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mllm_srec.store.records import Interaction
from mllm_srec.tools.collaborative import CollaborativeModel, WeightedHistory, likes
from mllm_srec.tools.facets import FacetModel

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
    """Of the log odds of the item's values among the user's likes."""
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
    """Ids that may be found. None takes all that the collaborative model and the index know: they
    must then hold no item that was deleted."""
    seen: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note what was seen, liked or not."""
        object.__setattr__(self, "seen", frozenset(one.item_id for one in self.history))

    def wants(self, item_id: str) -> bool:
        """Whether an item may be a candidate."""
        return item_id not in self.seen and (self.allowed is None or item_id in self.allowed)


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
class Retriever:
    """The sources and the weights of retrieval."""

    collaborative: CollaborativeModel
    facets: FacetModel
    index: Vectors
    weights: RetrievalWeights = field(default_factory=RetrievalWeights)
    min_rating: float | None = None
    """Lowest rating that is a like; None takes every interaction as one."""

    def retrieve(self, query: Query, *, count: int = 100) -> list[Candidate]:
        """Find the candidates of one user; see `retrieve_many`."""
        return self.retrieve_many([query], count=count)[0]

    def retrieve_many(self, queries: Sequence[Query], *, count: int = 100) -> list[list[Candidate]]:
        """Find the best candidates of each user, best first, ties by item id.

        Args:
            queries: One for each user.
            count: Candidates of a user; fewer only where fewer items are left to find.
        """
        liked = [likes(query.history, self.min_rating) for query in queries]
        following = self.collaborative.following(liked)
        return [
            self._one(query, history, scores, count)
            for query, history, scores in zip(queries, liked, following, strict=True)
        ]

    def _one(
        self,
        query: Query,
        liked: WeightedHistory,
        following: NDArray[np.float32],
        count: int,
    ) -> list[Candidate]:
        common = self.facets.scores(liked)
        targets: dict[Source, NDArray[np.float32] | None] = {
            "taste": query.preference,
            "recent": self._recent(liked),
        }
        found: dict[Source, dict[str, float]] = {
            "followed": _best(query, self.collaborative.item_ids, following, count, above=0.0),
            "facets": _best(query, self.facets.item_ids, common, count, above=0.0),
            "taste": self._near(query, targets["taste"], count),
            "recent": self._near(query, targets["recent"], count),
        }
        missing = count - len(set().union(*found.values()))
        popularity = self.collaborative.log_popularity()
        popular = max(round(count * POPULAR_SHARE), count if missing > 0 else 0)
        found["popular"] = _best(query, self.collaborative.item_ids, popularity, popular)
        union = sorted(set().union(*found.values()))
        features = self._features(union, following, common, popularity, targets)
        weights = np.array([getattr(self.weights, source) for source in SOURCES])
        scores = features @ weights
        # Stable, and the union is sorted by id: equal scores keep the order of ids.
        order = np.argsort(-scores, kind="stable")[:count]
        return [
            Candidate(
                item_id=union[row],
                retrieval_rank=rank,
                retrieval_score=float(scores[row]),
                sources={
                    source: items[union[row]]
                    for source, items in found.items()
                    if union[row] in items
                },
                features=dict(zip(SOURCES, features[row].tolist(), strict=True)),
            )
            for rank, row in enumerate(order.tolist(), 1)
        ]

    def _recent(self, liked: WeightedHistory) -> NDArray[np.float32] | None:
        """Mean vector (D,) of the latest likes, later ones counting more; None without any."""
        latest = [item_id for item_id, _ in liked[-RECENT_LIKES:]][::-1]
        vectors = self.index.vectors(latest)
        recency = self.collaborative.settings.recency
        weighted = [
            recency**age * vectors[item_id]
            for age, item_id in enumerate(latest)
            if item_id in vectors
        ]
        return np.sum(weighted, axis=0, dtype=np.float32) if weighted else None

    def _near(
        self, query: Query, vector: NDArray[np.float32] | None, count: int
    ) -> dict[str, float]:
        if vector is None or not vector.any():
            return {}
        # Seen items are dropped afterwards: a filter in the index costs more than finding them.
        pairs = self.index.nearest(vector, count + len(query.seen), query.allowed)
        kept = [(item_id, 1.0 - distance) for item_id, distance in pairs if query.wants(item_id)]
        return dict(kept[:count])

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
    query: Query,
    ids: Sequence[str],
    scores: NDArray[np.floating],
    count: int,
    above: float = -np.inf,
) -> dict[str, float]:
    """The items of the highest scores (N,), of equals the first in the order of ids (N)."""
    kept = dict[str, float]()
    for row in np.argsort(-scores, kind="stable").tolist():
        if len(kept) == count or scores[row] <= above:
            break
        if query.wants(ids[row]):
            kept[ids[row]] = float(scores[row])
    return kept


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
