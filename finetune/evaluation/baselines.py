"""Simple recommenders to beat: popularity, item-kNN, EASE, directed transitions, their blend."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mllm_srec.finetune.data.splits import Split, sample_cases
from mllm_srec.finetune.evaluation.metrics import ndcg_at, target_ranks
from mllm_srec.store.records import Interaction
from mllm_srec.tools.collaborative import (
    CollaborativeModel,
    CollaborativeSettings,
    Part,
    shares_of_best,
)
from mllm_srec.tools.likes import likes

ROWS: Mapping[str, Part] = {
    "item-knn": "neighbours",
    "ease": "ease",
    "transitions": "transitions",
}
"""Names of the rows, and the parts of the collaborative model that they show."""
BASELINES = ("popularity", "popularity-recent", *ROWS, "collaborative")
"""Every row that `fit_baselines` may give."""


RECENT_SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of the log, the latest part of it, that `popularity-recent` may count."""
TUNING_USERS = 1_000
"""Validation users that settings are chosen on: their scores of all items are held at once."""
RECENCIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
GRID: Mapping[str, tuple[float, ...]] = {
    "recency": RECENCIES,
    "neighbours_weight": (0.0, 0.25, 0.5, 1.0, 2.0),
    "transitions_weight": (0.0, 0.25, 0.5, 1.0),
    "ease_weight": (0.0, 0.5, 1.0),
}
"""Settings tried for the blend, one after the other in this order."""


class Scorer(Protocol):
    """Something that scores the whole catalogue for a history."""

    def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.floating]:
        """Score every item for each history (U, N); seen items are not left out."""
        ...


@dataclass(frozen=True, slots=True)
class Popularity:
    """How many likes an item has; the same for everybody."""

    likes: NDArray[np.float64]
    """Of each item (N,)."""

    @classmethod
    def recent(cls, split: Split, min_rating: float | None, share: float) -> "Popularity":
        """Count only the latest `share` of the training part's likes."""
        liked = split.liked(min_rating)
        latest = liked.filter(pl.col("timestamp") >= liked["timestamp"].quantile(1 - share))
        counts = dict(latest["item_id"].value_counts().iter_rows())
        return cls(np.array([float(counts.get(item_id, 0)) for item_id in split.item_ids]))

    def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.float64]:
        """Score every item for each history (U, N)."""
        return np.tile(self.likes, (len(histories), 1))


@dataclass(frozen=True, slots=True)
class Collaborative:
    """One part of the collaborative model, or with None its blend, on the likes of a history."""

    model: CollaborativeModel
    part: Part | None
    min_rating: float | None = None

    def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.float32]:
        """Score every item for each history (U, N)."""
        liked = [likes(history, self.min_rating) for history in histories]
        if self.part is None:
            return self.model.scores_many(liked)
        return self.model.part_scores(self.part, liked)


def fit_baselines(
    split: Split,
    *,
    min_rating: float | None = None,
    settings: CollaborativeSettings | None = None,
    tune: bool = False,
    seed: int = 0,
) -> dict[str, Scorer]:
    """Fit every simple baseline on the training part of a split.

    Args:
        split: Only its training part is fitted.
        min_rating: Lowest rating that is a like.
        settings: Defaults where None.
        tune: Choose each row's recency, and the blend, on the validation part if it has a case.
        seed: Of the validation users that are tuned on.

    Returns:
        `popularity`, `popularity-recent` (where the log has times), `item-knn`, `ease` (where the
        catalogue is small enough), `transitions`, and `collaborative`, the blend that retrieval
        uses.
    """
    model = CollaborativeModel.fit(
        split.train, split.item_ids, min_rating=min_rating, settings=settings
    )
    # On no case all settings are equally good, and the first that is tried would win.
    tuning = Tuning(model, split, min_rating, seed) if tune and split.validation else None
    rows: dict[str, Scorer] = {"popularity": Popularity(model.popularity)}
    if split.train["timestamp"].null_count() == 0 and len(split.train):
        shares = RECENT_SHARES if tuning else RECENT_SHARES[2:3]
        recent = [Popularity.recent(split, min_rating, share) for share in shares]
        rows["popularity-recent"] = tuning.best(recent) if tuning else recent[0]
    for name, part in ROWS.items():
        if part in model.links:
            chosen = tuning.recency(part) if tuning else model.settings
            rows[name] = Collaborative(model.tuned(chosen), part, min_rating)
    blended = model.tuned(tuning.blend()) if tuning else model
    return rows | {"collaborative": Collaborative(blended, None, min_rating)}


class Tuning:
    """Choice of recency and blend on the validation part of a split.

    Judged by NDCG@100: NDCG@10 rests on the few targets near the top and is too noisy to choose by,
    and retrieval has to bring the target among the candidates in the first place.
    """

    def __init__(
        self, model: CollaborativeModel, split: Split, min_rating: float | None, seed: int = 0
    ) -> None:
        cases = sample_cases(split.validation, TUNING_USERS, among=split.users, seed=seed)
        self._model = model
        self._likes = [likes(case.history, min_rating) for case in cases]
        self._seen = [[model.rows[one.item_id] for one in case.history] for case in cases]
        self._targets = np.array([model.rows[case.target] for case in cases], np.int64)

    def best(self, trials: Sequence[Popularity]) -> Popularity:
        """The best of some counts of popularity."""
        users = len(self._likes)
        return max(
            trials, key=lambda one: self._gain(np.tile(one.likes.astype(np.float32), (users, 1)))
        )

    def recency(self, part: Part) -> CollaborativeSettings:
        """The settings with the best recency for one part alone."""
        trials = [replace(self._model.settings, recency=recency) for recency in RECENCIES]
        return max(trials, key=lambda trial: self._gain(self._parts(trial, (part,))[part]))

    def blend(self) -> CollaborativeSettings:
        """The settings with the best recency and weights, changed one at a time, twice."""
        best, found = self._model.settings, -1.0
        parts: dict[float, dict[Part, NDArray[np.float32]]] = {}
        for _ in range(2):
            for name, values in GRID.items():
                for value in values:
                    trial = CollaborativeSettings(**(asdict(best) | {name: value}))
                    if trial.recency not in parts:
                        fitted = tuple(self._model.links)
                        parts = {trial.recency: self._parts(trial, fitted)}
                    gain = self._gain(self._blended(trial, parts[trial.recency]))
                    if gain > found:
                        best, found = trial, gain
        return best

    def _parts(
        self, settings: CollaborativeSettings, parts: Sequence[Part]
    ) -> dict[Part, NDArray[np.float32]]:
        model = self._model.tuned(settings)
        return {part: shares_of_best(model.part_scores(part, self._likes)) for part in parts}

    def _blended(
        self, settings: CollaborativeSettings, parts: Mapping[Part, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        total = np.zeros((len(self._likes), len(self._model.item_ids)), np.float32)
        for part, weight in self._model.tuned(settings).blend.items():
            total += np.float32(weight) * parts[part]
        return total

    def _gain(self, scores: NDArray[np.float32]) -> float:
        """Mean NDCG@100 of the targets by scores (U, N)."""
        scores = scores.copy()
        for user, seen in enumerate(self._seen):
            scores[user, seen] = -np.inf
        gains = ndcg_at(target_ranks(scores, self._targets), 100)
        return float(gains.mean()) if len(gains) else 0.0
