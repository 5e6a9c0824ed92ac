"""How well the model's scores tell what came next from what did not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import State
from mllm_srec.finetune.data.splits import Case, Split
from mllm_srec.finetune.evaluation.ceilings import CEILINGS, fit_ceilings
from mllm_srec.finetune.evaluation.metrics import (
    NEGATIVES,
    Bin,
    Floats,
    calibration_error,
    log_loss,
    pair_auc,
    reliability,
)
from mllm_srec.finetune.evaluation.pairs import Pairs, draw_pairs, model_logits
from mllm_srec.tools.ranking import calibrated

FIGURES = ("auc", *(f"{name}_auc" for name in CEILINGS), "share_of_observer", "log_loss", "ece")
"""Names of the figures besides the number of pairs."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """Labelled pairs with the scores of the model and of those who know the truth."""

    pairs: Pairs
    logits: Floats
    """The model's (P,)."""
    probabilities: Floats
    """The model's, calibrated as the home says (P,)."""
    ceilings: Mapping[str, Floats]
    """Scores (P,) by name, log q taken off; empty without the truth."""

    @property
    def bins(self) -> list[Bin]:
        """What a reliability picture shows."""
        return reliability(self.probabilities, self.pairs.labels, weights=self.pairs.weights)

    def of(self, members: NDArray[np.bool_]) -> "Scoring":
        """The pairs of some cases (U,)."""
        kept = members[self.pairs.cases]
        return Scoring(
            self.pairs.of(members),
            self.logits[kept],
            self.probabilities[kept],
            {name: scores[kept] for name, scores in self.ceilings.items()},
        )

    def figures(self) -> dict[str, float | None]:
        """AUC, log loss and calibration error; the same AUC for those who know the truth.

        All are None where there are not both kinds of pairs.
        """
        labels, weights = self.pairs.labels, self.pairs.weights
        if not labels.any() or labels.all():
            return {**dict.fromkeys(FIGURES), "pairs": float(len(labels))}
        auc = pair_auc(self.logits, labels)
        ceilings = {name: pair_auc(scores, labels) for name, scores in self.ceilings.items()}
        observer = ceilings.get("observer", 0.5)
        return {
            "auc": auc,
            **{f"{name}_auc": ceilings.get(name) for name in CEILINGS},
            "share_of_observer": (auc - 0.5) / (observer - 0.5) if observer > 0.5 else None,
            "log_loss": log_loss(self.probabilities, labels, weights=weights),
            "ece": calibration_error(self.probabilities, labels, weights=weights),
            "pairs": float(len(labels)),
        }


def score_pairs(
    recommender: Recommender,
    split: Split,
    cases: Sequence[Case],
    states: Sequence[State],
    *,
    truth: Path | None,
    pairs: int,
    seed: int,
    progress: Progress = lambda stage, done, total: None,
    stage: str = "score",
) -> Scoring:
    """Score each target and unseen items drawn by popularity, the same for everybody.

    Args:
        recommender: The model, and the calibration that the home keeps.
        split: The cases' own.
        cases: Whose targets.
        states: What the chain made of each case.
        truth: The folder `truth` of a drawn shop, for the ceilings.
        pairs: How many pairs at least, of the warm users or of the cold ones, whichever are more;
            so many negatives are drawn for each case.
        seed: Of the negatives.
        progress: Told how many pairs are scored.
        stage: What that is called there.
    """
    cold = sum(case.cold for case in cases)
    wanted = -(-pairs // max(cold, len(cases) - cold, 1)) - 1
    drawn = draw_pairs(cases, split, negatives=max(NEGATIVES, wanted), seed=seed)
    total = len(drawn.labels)
    progress(stage, 0, total)
    logits = model_logits(
        recommender,
        states,
        drawn,
        split.item_ids,
        scored=lambda done: progress(stage, done, total),
    )
    values = calibrated(logits, recommender.context.weights.calibration)
    return Scoring(drawn, logits, expit(values), _ceilings(truth, split, cases, drawn))


def _ceilings(
    truth: Path | None, split: Split, cases: Sequence[Case], pairs: Pairs
) -> dict[str, Floats]:
    if truth is None:
        return {}
    histories = [case.history for case in cases]
    return {
        name: np.asarray(
            (scorer.scores(histories) - pairs.log_q)[pairs.cases, pairs.items], np.float64
        )
        for name, scorer in fit_ceilings(truth, split, cases).items()
    }


def scoring_figures(scoring: Scoring, split: Split, cases: Sequence[Case]) -> dict[str, Any]:
    """The figures of warm users, as the headline, and of each group apart."""
    cold = np.array([case.cold for case in cases], np.bool_)
    cold_items = split.cold_items
    new = np.array([case.target in cold_items for case in cases], np.bool_)
    groups = {"warm_users": ~cold, "cold_users": cold, "warm_items": ~new, "cold_items": new}
    return {
        **scoring.of(~cold).figures(),
        "groups": {
            name: {"cases": int(members.sum()), **scoring.of(members).figures()}
            for name, members in groups.items()
            if members.any()
        },
    }
