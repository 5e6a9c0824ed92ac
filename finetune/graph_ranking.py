"""The recommendation graph as evaluation and combination see it: many cases, one split."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mllm_srec.agent.deployment import WEIGHTS, Deployment
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.state import Settings, State, unscored
from mllm_srec.finetune.baselines import Tuning
from mllm_srec.finetune.combine import Example, Fitted, fit_combination
from mllm_srec.finetune.evaluate import Ranking
from mllm_srec.finetune.pairs import draw_pairs, model_logits, request
from mllm_srec.finetune.splits import (
    Case,
    DayOrder,
    Split,
    SplitBy,
    sample_cases,
    shuffle_days,
    split_by_time,
    split_by_user,
)
from mllm_srec.store.home import Home
from mllm_srec.tools.collaborative import CollaborativeModel, CollaborativeSettings
from mllm_srec.tools.ranking import CombineWeights

ROUNDS = 2


class GraphRanker:
    """Ranks cases through the real nodes, with a collaborative model of the training part."""

    def __init__(self, deployment: Deployment, split: Split) -> None:
        self.split = split
        self.home = deployment.home
        model = CollaborativeModel.fit(
            split.train, split.item_ids, min_rating=deployment.settings.liked_rating
        )
        self.deployment = deployment
        self.collaborative = model
        self.recommender = Recommender(deployment, deployment.context(collaborative=model))

    def reweigh(self, weights: CombineWeights) -> None:
        """Rank with other weights from now on."""
        context = self.deployment.context(collaborative=self.collaborative, weights=weights)
        self.recommender = Recommender(self.deployment, context)

    def __call__(
        self, cases: Sequence[Case], pools: Sequence[frozenset[str]] | None
    ) -> list[Ranking]:
        """Rank for each case; with pools, only the items of the case's pool are candidates."""
        states = self.states(cases, pools)
        return [
            Ranking(
                full=[entry["item_id"] for entry in state.candidates],
                retrieval=[
                    entry["item_id"]
                    for entry in sorted(state.candidates, key=lambda e: e["retrieval_rank"])
                ],
            )
            for state in states
        ]

    def states(
        self, cases: Sequence[Case], pools: Sequence[frozenset[str]] | None = None
    ) -> list[State]:
        """Run the chain for each case, without reasons."""
        requests = [request(case) for case in cases]
        if pools is not None:
            requests = [
                replace(asked, allowed=tuple(sorted(pool)))
                for asked, pool in zip(requests, pools, strict=True)
            ]
        return self.recommender.rank_many(requests)


def combine_home(ranker: GraphRanker, *, users: int | None = None, seed: int = 1) -> Fitted:
    """Fit calibration and combination on the validation part, and store them in the home.

    Raises:
        CombineError: There is too little to fit on.
    """
    cases = sample_cases(ranker.split.validation, users, seed=seed)
    min_rating = ranker.deployment.settings.liked_rating
    blend = Tuning(ranker.collaborative, ranker.split, min_rating).blend()
    weights = ranker.recommender.context.weights.model_copy(update={"collaborative": blend})
    # Retrieval weights are fitted on candidates that the old ones found: the second round sees
    # its own candidates.
    for _ in range(ROUNDS):
        ranker.reweigh(weights)
        fitted = _fit(ranker, cases, blend, seed)
        weights = fitted.weights
    ranker.reweigh(weights)
    ranker.home.write_setting(WEIGHTS, stored(fitted, ranker))
    return fitted


def _fit(
    ranker: GraphRanker, cases: Sequence[Case], blend: CollaborativeSettings, seed: int
) -> Fitted:
    states = ranker.states(cases)
    pairs = draw_pairs(cases, ranker.split, np.random.default_rng(seed))
    logits = model_logits(ranker.recommender, states, pairs.asked, ranker.split.item_ids)
    examples = [
        Example.of(
            [unscored(entry) for entry in state.candidates],
            np.array([entry["logit"] for entry in state.candidates], np.float64),
            case.target,
        )
        for state, case in zip(states, cases, strict=True)
    ]
    found = [example for example in examples if example is not None]
    return fit_combination(
        found, logits.ravel(), pairs.labels.ravel(), collaborative=blend, seed=seed
    )


def stored(fitted: Fitted, ranker: GraphRanker) -> dict[str, Any]:
    """What the home keeps of a fit: the weights, and what they were fitted with."""
    info = ranker.recommender.deployment.info
    return {
        "weights": fitted.weights.model_dump(),
        "model_hash": info.model_hash,
        "engine": info.engine,
        "users": fitted.users,
        "ndcg_retrieval": fitted.ndcg_retrieval,
        "ndcg_full": fitted.ndcg_full,
        "ece_before": fitted.ece_before,
        "ece_after": fitted.ece_after,
    }


def split_home(
    home: Home,
    settings: Settings,
    *,
    split_by: SplitBy = "user",
    day_order: DayOrder = "published",
    seed: int = 1,
) -> Split:
    """Split the log of a home into what is fitted and what is asked."""
    frame = home.catalogue.interactions_frame()
    if day_order == "shuffled":
        frame = shuffle_days(frame, seed=seed)
    make = split_by_user if split_by == "user" else split_by_time
    return make(frame, home.catalogue.item_ids(), min_rating=settings.liked_rating)
