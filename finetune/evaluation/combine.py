"""Fit how retrieval and the model's score are weighed: `srec finetune combine`.

A conditional logit: among a user's candidates, the one that came next should have the highest final
score. Fitted on validation, where the target is known and the models have not seen it. The model's
score has to earn its weight there: by the one-standard-error rule (Breiman et al. 1984, section
3.4.3) the order without it stays where the gain is within one standard error of nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit

from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.conditional_logit import fit_choices
from mllm_srec.finetune.evaluation.metrics import Floats, calibration_error, ndcg_at
from mllm_srec.tools.ranking import Calibration, CombineWeights, calibrated, feature_matrix
from mllm_srec.tools.retrieval import SOURCES, Candidate, RetrievalWeights

FOLDS = 5
"""Parts of the users for the cross-validated figures."""


class CombineError(FinetuneError):
    """There is too little to fit on; the message names the way out."""


@dataclass(frozen=True, slots=True)
class Example:
    """The candidates of one validation case, one of which is the target."""

    features: Floats
    """(C, 5), in the order of `SOURCES`."""
    logits: Floats
    """The model's logits (C,), not calibrated."""
    target: int
    """Row of the target."""

    @classmethod
    def of(cls, candidates: Sequence[Candidate], logits: Floats, target: str) -> "Example | None":
        """Make an example; None where retrieval missed the target: nothing can be learned."""
        ids = [candidate.item_id for candidate in candidates]
        if target not in ids:
            return None
        return cls(feature_matrix(candidates), logits, ids.index(target))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Fitted weights, and what they do on the validation part."""

    weights: CombineWeights
    users: int
    """Cases with the target among the candidates."""
    ndcg_retrieval: float
    """NDCG@10 among the candidates by the retrieval weights, cross-validated by user."""
    ndcg_full: float
    """The same with the model's score."""
    gain_error: float
    """Standard error of the difference between the two, paired by user."""
    ece_before: float
    """Calibration error of the model's probability on the labelled pairs."""
    ece_after: float


def fit_combination(
    examples: Sequence[Example],
    pair_logits: Floats,
    pair_labels: NDArray[np.bool_],
    *,
    fitted_with: CombineWeights | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit calibration, retrieval weights and the weights of the final score.

    Args:
        examples: From validation cases.
        pair_logits: The model's logits of labelled pairs (P,), positives and negatives.
        pair_labels: Whether the pair is a positive (P,).
        fitted_with: Of which the weights keep how the collaborative model was blended and how the
            attributes weigh: they fit no others.
        seed: Of the folds.

    Raises:
        CombineError: There are no examples, or not both kinds of pairs.
    """
    if len(examples) < FOLDS:
        raise CombineError(
            f"{len(examples)} validation users have their target among the candidates: "
            "evaluate more users, or ask retrieval for more candidates"
        )
    calibration = fit_calibration(pair_logits, pair_labels)
    plain = _Stack.of(examples, None)
    full = _Stack.of(examples, calibration)
    folds = np.random.default_rng(seed).permutation(len(examples)) % FOLDS
    retrieval, final = plain.fit(), full.fit()
    without, with_score = plain.cross_validated(folds), full.cross_validated(folds)
    gain = with_score - without
    gain_error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    if gain.mean() <= gain_error:
        final = np.append(retrieval, 0.0)
    return Fitted(
        weights=(fitted_with or CombineWeights()).model_copy(
            update={
                **dict(zip((*SOURCES, "model"), final.tolist(), strict=True)),
                "calibration": calibration,
                "retrieval": RetrievalWeights(
                    **dict(zip(SOURCES, retrieval.tolist(), strict=True))
                ),
            }
        ),
        users=len(examples),
        ndcg_retrieval=float(without.mean()),
        ndcg_full=float(with_score.mean()),
        gain_error=gain_error,
        ece_before=calibration_error(expit(pair_logits), pair_labels),
        ece_after=calibration_error(expit(calibrated(pair_logits, calibration)), pair_labels),
    )


def fit_calibration(logits: Floats, labels: NDArray[np.bool_]) -> Calibration:
    """Fit Platt scaling on labelled pairs (P,) by maximum likelihood.

    Its slope is at least 0: a model that is wrong more often than right is not turned round, its
    word counts for nothing.

    Raises:
        CombineError: There are not both kinds of pairs.
    """
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        raise CombineError(f"{positives} positives of {len(labels)} pairs: give both kinds")
    # Platt's own targets keep the fit finite where the classes are apart.
    high, low = (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2)
    wanted = np.where(labels, high, low)

    def loss(line: Floats) -> tuple[float, Floats]:
        scores = line[0] * logits + line[1]
        slope = expit(scores) - wanted
        value = np.logaddexp(0.0, scores) - wanted * scores
        return float(value.mean()), np.array([(slope * logits).mean(), slope.mean()])

    bounds = [(0.0, None), (None, None)]
    found = optimize.minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds
    )
    return Calibration(a=float(found.x[0]), b=float(found.x[1]))


@dataclass(frozen=True, slots=True)
class _Stack:
    """All examples as one array, padded."""

    features: Floats
    """(U, C, F), 0 beyond a user's candidates."""
    present: NDArray[np.bool_]
    """(U, C)."""
    targets: NDArray[np.int64]
    """(U,)."""

    @classmethod
    def of(cls, examples: Sequence[Example], calibration: Calibration | None) -> "_Stack":
        """Stack the retrieval features, and the calibrated logit where a calibration is given."""
        widest = max(len(example.features) for example in examples)
        count = len(SOURCES) + (calibration is not None)
        features = np.zeros((len(examples), widest, count))
        present = np.zeros((len(examples), widest), np.bool_)
        for user, example in enumerate(examples):
            here = len(example.features)
            present[user, :here] = True
            features[user, :here, : len(SOURCES)] = example.features
            if calibration is not None:
                features[user, :here, -1] = calibrated(example.logits, calibration)
        targets = np.array([example.target for example in examples])
        return cls(features, present, targets)

    def fit(self, members: NDArray[np.bool_] | None = None) -> Floats:
        """Weights (F,) that make the targets of some users most likely; popularity's is free."""
        rows = np.ones(len(self.targets), np.bool_) if members is None else members
        return fit_choices(
            self.features[rows],
            self.present[rows],
            self.targets[rows],
            free=SOURCES.index("popular"),
        )

    def cross_validated(self, folds: NDArray[np.int64]) -> Floats:
        """NDCG@10 of each user (U,) by the weights that the other folds (U,) gave."""
        gains = np.zeros(len(self.targets))
        for fold in range(FOLDS):
            here = folds == fold
            scores = np.where(self.present[here], self.features[here] @ self.fit(~here), -np.inf)
            target = np.take_along_axis(scores, self.targets[here][:, None], axis=1)
            ranks = (scores > target).sum(axis=1) + ((scores == target).sum(axis=1) - 1) / 2
            gains[here] = ndcg_at(ranks, 10)
        return gains
