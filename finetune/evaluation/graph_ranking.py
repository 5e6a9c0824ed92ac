"""The recommendation graph as evaluation and combination see it: many cases, one split."""

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import expit

from mllm_srec.agent.deployment import WEIGHTS, Deployment
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.results import Progress, Tokens
from mllm_srec.agent.state import Part, State, unscored
from mllm_srec.agent.tracing.tracer import Run
from mllm_srec.finetune.data.learned import Learned, learned_by
from mllm_srec.finetune.data.settings import USUAL_SPLIT, DayOrder, SplitHow
from mllm_srec.finetune.data.splits import Case, Split, sample_cases
from mllm_srec.finetune.evaluation.baselines import Tuning
from mllm_srec.finetune.evaluation.combine import (
    CombineError,
    Example,
    Fitted,
    fit_combination,
)
from mllm_srec.finetune.evaluation.evaluate import LeakError, Ranking
from mllm_srec.finetune.evaluation.facet_weights import fit_facet_weights
from mllm_srec.finetune.evaluation.kept_rankings import KeptRankings, Pool
from mllm_srec.finetune.evaluation.pairs import (
    check_described,
    draw_pairs,
    model_logits,
    rank_cases,
    request,
)
from mllm_srec.llm.trained import read_settings
from mllm_srec.store.home import Home
from mllm_srec.tools.collaborative import CollaborativeModel
from mllm_srec.tools.ranking import CombineWeights, calibrated

ROUNDS = 2
BLOCK = 256
"""Cases that are ranked, and then kept, together."""


class GraphRanker:
    """Ranks cases through the real nodes, with a collaborative model of the training part."""

    def __init__(
        self,
        deployment: Deployment,
        split: Split,
        *,
        weights: CombineWeights | None = None,
        seed: int = 1,
        progress: Progress = lambda stage, done, total: None,
        stage: str = "rank",
    ) -> None:
        check_described(deployment.home)
        self.split = split
        self.home = deployment.home
        self.deployment = deployment
        self.collaborative = CollaborativeModel.fit(
            split.train, split.item_ids, min_rating=deployment.settings.liked_rating
        )
        context = deployment.context(collaborative=self.collaborative, weights=weights)
        self.recommender = Recommender(deployment, context)
        self._seed = seed
        self._progress = progress
        self._stage = stage

    def reweigh(self, weights: CombineWeights) -> None:
        """Rank with other weights from now on."""
        context = self.deployment.context(collaborative=self.collaborative, weights=weights)
        self.recommender = Recommender(self.deployment, context)

    def without(self, part: Part) -> Self:
        """The same ranker, a part of the chain left out; nothing is trained or fitted again."""
        other = copy(self)
        other._stage = f"{self._stage} without {part}"
        other.recommender = self.recommender.without(part)
        return other

    def __call__(
        self, cases: Sequence[Case], pools: Sequence[frozenset[str]] | None
    ) -> list[Ranking]:
        """Rank for each case; with pools, only the items of the case's pool are candidates.

        What an earlier, interrupted call has ranked is not ranked again.
        """
        allowed: Sequence[Pool] = [None] * len(cases) if pools is None else pools
        kept = KeptRankings(self.recommender, self.split, seed=self._seed)
        found = kept.read(cases, allowed)
        todo = [row for row in range(len(cases)) if row not in found]
        for start in range(0, len(todo), BLOCK):
            rows = todo[start : start + BLOCK]
            asked = [(cases[row], allowed[row]) for row in rows]
            rankings = self._rank(asked, len(found), len(cases))
            kept.write((*one, ranking) for one, ranking in zip(asked, rankings, strict=True))
            found |= dict(zip(rows, rankings, strict=True))
        return [found[row] for row in range(len(cases))]

    def _rank(self, asked: Sequence[tuple[Case, Pool]], done: int, total: int) -> list[Ranking]:
        """Rank a block of cases, and ask for the probabilities of their pairs."""
        tokens: dict[int, Tokens] = {}

        def ranked(asked: Request, run: Run) -> None:
            tokens[id(asked)] = run.total
            self._progress(self._stage, done + len(tokens), total)

        started = time.perf_counter()
        requests = [_request(case, pool) for case, pool in asked]
        self._progress(self._stage, done, total)
        states = self.recommender.rank_many(requests, ranked)
        seconds = (time.perf_counter() - started) / len(asked)
        chances = self._chances([case for case, _ in asked], states)
        return [
            Ranking(
                full=[entry["item_id"] for entry in state.candidates],
                retrieval=[
                    entry["item_id"]
                    for entry in sorted(state.candidates, key=lambda e: e["retrieval_rank"])
                ],
                seconds=seconds,
                tokens=tokens[id(one)],
                chances=claimed,
            )
            for one, state, claimed in zip(requests, states, chances, strict=True)
        ]

    def _chances(self, cases: Sequence[Case], states: Sequence[State]) -> list[list[float]]:
        """Calibrated probabilities of each case's pairs, the target's first."""
        context = self.recommender.context
        pairs = draw_pairs(cases, self.split, seed=self._seed)
        logits = model_logits(self.recommender, states, pairs, self.split.item_ids)
        values = expit(calibrated(logits, context.weights.calibration))
        return [part.tolist() for part in pairs.by_case(values, len(cases))]

    def states(self, cases: Sequence[Case]) -> list[State]:
        """Run the chain for each case, without reasons."""
        return rank_cases(self.recommender, cases, self._progress, self._stage)


def _request(case: Case, pool: Pool) -> Request:
    asked = request(case)
    return asked if pool is None else replace(asked, allowed=tuple(sorted(pool)))


def combine_home(
    ranker: GraphRanker, *, users: int | None = None, how: SplitHow = USUAL_SPLIT, seed: int = 1
) -> Fitted:
    """Fit calibration and combination on the validation part, and store them in the home.

    Args:
        ranker: On top of the home.
        users: So many validation cases; all when None.
        how: How the log was split; another split's test cases may be among the fitted ones.
        seed: For the choice of the cases, and of the pairs.

    Raises:
        CombineError: There is too little to fit on.
        LeakError: The model was taught what is to be fitted on.
    """
    check_learned(ranker.deployment, how)
    cases = sample_cases(ranker.split.validation, users, seed=seed)
    if not cases:
        raise CombineError(
            f"no user of {str(ranker.home.path)!r} has a target for validation, the like before "
            "the last: ingest the log of users with several likes, or fit on another home"
        )
    min_rating = ranker.deployment.settings.liked_rating
    facets = ranker.deployment.facets(ranker.deployment.settings.without)
    weights = ranker.deployment.unfitted_weights().model_copy(
        update={
            "collaborative": Tuning(ranker.collaborative, ranker.split, min_rating).blend(),
            "attributes": fit_facet_weights(facets, ranker.split, min_rating=min_rating, seed=seed),
        }
    )
    # Retrieval weights are fitted on candidates that the old ones found: the second round sees
    # its own candidates.
    for _ in range(ROUNDS):
        ranker.reweigh(weights)
        fitted = _fit(ranker, cases, weights, seed)
        weights = fitted.weights
    ranker.reweigh(weights)
    seen = [[case.user_id, case.target] for case in cases]
    ranker.home.write_setting(WEIGHTS, stored(fitted, ranker, how) | {"cases": seen})
    return fitted


def _fit(ranker: GraphRanker, cases: Sequence[Case], weights: CombineWeights, seed: int) -> Fitted:
    states = ranker.states(cases)
    pairs = draw_pairs(cases, ranker.split, seed=seed)
    logits = model_logits(ranker.recommender, states, pairs, ranker.split.item_ids)
    examples = (
        _example(state, case, ranker.split) for state, case in zip(states, cases, strict=True)
    )
    found = [example for example in examples if example is not None]
    return fit_combination(found, logits, pairs.labels, fitted_with=weights, seed=seed)


def _example(state: State, case: Case, split: Split) -> Example | None:
    """What a target was chosen among.

    What came later was no alternative: as a refusal it would teach that nobody wants what is new.
    """
    entries = [
        entry
        for entry in state.candidates
        if entry["item_id"] == case.target or split.knew(entry["item_id"], case)
    ]
    logits = np.array([entry["logit"] for entry in entries], np.float64)
    return Example.of([unscored(entry) for entry in entries], logits, case.target)


def fitted_in(home: Home, model_hash: str) -> Mapping[str, Any]:
    """What `srec finetune combine` keeps of a model in a home; empty where it fitted none."""
    kept = home.read_setting(WEIGHTS) or {}
    return kept if kept.get("model_hash") == model_hash else {}


def check_fitted(home: Home, how: SplitHow, model_hash: str) -> None:
    """Refuse weights that saw test cases of a split.

    Raises:
        LeakError: The home's weights of this model were fitted on another split.
    """
    fitted = fitted_in(home, model_hash).get("split", how._asdict())
    if fitted != how._asdict():
        raise LeakError(
            f"the weights of {str(home.path)!r} were fitted on {_spoken(fitted)} and know some "
            f"test cases of this split: run `srec finetune combine {_spoken(how._asdict())}` first"
        )


def check_learned(
    deployment: Deployment, how: SplitHow, *, day_order: DayOrder = "published"
) -> None:
    """Refuse a deployment whose model was taught test cases of a split.

    Raises:
        LeakError: It was fine-tuned on this very log, split another way.
    """
    liked = deployment.settings.liked_rating
    check_taught(deployment.model, deployment.home, how, min_rating=liked, day_order=day_order)


def check_taught(
    model: Path,
    home: Home,
    how: SplitHow,
    *,
    min_rating: float | None,
    day_order: DayOrder = "published",
) -> None:
    """Refuse a model, loaded or not, that was taught test cases of a split of a home's log.

    Raises:
        LeakError: It was fine-tuned on this very log, split another way.
    """
    before = list(learned_by(read_settings(model)))
    if not before:
        return
    asked = Learned.of(home, how, min_rating)
    for one in before:
        apart = (
            (one.split_by, one.min_rating) != (asked.split_by, asked.min_rating)
            or one.targets < asked.targets
            or day_order != "published"
        )
        if one.log == asked.log and apart:
            ratings = f", ratings from {one.min_rating:g} up as likes" if one.min_rating else ""
            taught = SplitHow(one.split_by, one.targets)._asdict()
            raise LeakError(
                f"the model {model.name!r} was fine-tuned on this log "
                f"({_spoken(taught)}{ratings}, the order inside days as it stands) and knows test "
                "cases of another split: evaluate it on that one, or fine-tune another with "
                f"`srec finetune data {_spoken(how._asdict())}`"
            )


def without_fitted(home: Home, split: Split, model_hash: str) -> Split:
    """A split without the test cases that the home's weights of a model were fitted on.

    With another `--min-rating`, or another order inside the days, what was held out for validation
    may be what is tested.
    """
    fitted = {tuple(case) for case in fitted_in(home, model_hash).get("cases", ())}
    test = tuple(case for case in split.test if (case.user_id, case.target) not in fitted)
    return replace(split, test=test)


def _spoken(how: Mapping[str, Any]) -> str:
    return f"--split-by {how['split_by']} --targets {how['targets']}"


def stored(fitted: Fitted, ranker: GraphRanker, how: SplitHow) -> dict[str, Any]:
    """What the home keeps of a fit: the weights, and what they were fitted with."""
    info = ranker.recommender.deployment.info
    return {
        "weights": fitted.weights.model_dump(),
        "split": how._asdict(),
        "model_hash": info.model_hash,
        "engine": info.engine,
        "users": fitted.users,
        "ndcg_retrieval": fitted.ndcg_retrieval,
        "ndcg_full": fitted.ndcg_full,
        "ndcg_gain_error": fitted.gain_error,
        "ece_before": fitted.ece_before,
        "ece_after": fitted.ece_after,
    }
