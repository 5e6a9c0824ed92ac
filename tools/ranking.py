"""The final order of candidates: retrieval features and the model's score, weighed together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.special import expit

from mllm_srec.llm.engine import ModelError
from mllm_srec.tools.collaborative import CollaborativeSettings
from mllm_srec.tools.facets import FacetWeights
from mllm_srec.tools.retrieval import SOURCES, Candidate, RetrievalWeights

CALIBRATION = "calibration.json"
"""Name of the file in a model's folder that keeps what its logits mean."""


class Calibration(BaseModel):
    """Platt scaling of the model's logit: `p = sigmoid(a * logit + b)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: float = 1.0
    b: float = 0.0


def shipped_calibration(model: Path) -> Calibration:
    """The calibration that came with a model's folder; it changes nothing where none did.

    Raises:
        ModelError: The file is broken.
    """
    path = model / CALIBRATION
    if not path.exists():
        return Calibration()
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ModelError(f"the calibration {str(path)!r} is broken: delete the file") from error


class CombineWeights(BaseModel):
    """How retrieval and the model's score make the final score; the defaults work unfitted.

    `final = features . followed, facets, taste, recent, popular + model * logit`. Training against
    negatives drawn by popularity pushes popular items down by log q; `popular` gives that back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    followed: float = 2.5
    facets: float = 0.5
    taste: float = 0.25
    recent: float = 0.4
    popular: float = 0.3
    model: float = 0.5
    """Of the model's calibrated logit."""
    calibration: Calibration = Field(default_factory=Calibration)
    retrieval: RetrievalWeights = Field(default_factory=RetrievalWeights)
    """Of the retrieval score, fitted on the same data without the model."""
    collaborative: CollaborativeSettings = Field(default_factory=CollaborativeSettings)
    """What the collaborative model is fitted and blended with."""
    attributes: FacetWeights = Field(default_factory=FacetWeights)
    """How much the values in common say, by their attributes."""

    def score_change(self, nats: float) -> float:
        """How far the final score moves when the model's logit moves by so many nats."""
        return abs(self.model * self.calibration.a) * nats


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate in its final place."""

    candidate: Candidate
    rank: int
    """1 for the first."""
    score: float
    """The final score; only its order within one user means something."""
    probability: float | None
    """The model's calibrated probability that the user likes the item next; None unscored."""


def calibrated(logits: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """Calibrate the model's logits `log p(yes) - log p(no)` of one user's candidates (C,).

    A candidate that the model could not score (nan) counts as the mean of the others; where it
    scored none, all are equal.
    """
    known = logits[~np.isnan(logits)]
    typical = float(known.mean()) if len(known) else 0.0
    return calibration.a * np.where(np.isnan(logits), typical, logits) + calibration.b


def feature_matrix(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """The retrieval features of candidates (C, 5), in the order of `SOURCES`."""
    rows = [[candidate.features[source] for source in SOURCES] for candidate in candidates]
    return np.array(rows, np.float64).reshape(len(candidates), len(SOURCES))


def combine(
    candidates: Sequence[Candidate], logits: NDArray[np.float64], weights: CombineWeights
) -> list[Ranked]:
    """Order the candidates of one user by the final score, best first.

    Args:
        candidates: In any order.
        logits: The model's logit of each candidate (C,), nan where it gave none.
        weights: Fitted by `srec finetune combine`, or the defaults.

    Raises:
        ValueError: There are not as many logits as candidates.
    """
    if logits.shape != (len(candidates),):
        raise ValueError(
            f"{len(candidates)} candidates but logits {logits.shape}: give each candidate one"
        )
    values = calibrated(logits, weights.calibration)
    chances = expit(values)
    scores = feature_matrix(candidates) @ np.array([getattr(weights, name) for name in SOURCES])
    scores += weights.model * values
    order = sorted(range(len(candidates)), key=lambda row: (-scores[row], candidates[row].item_id))
    return [
        Ranked(
            candidate=candidates[row],
            rank=rank,
            score=float(scores[row]),
            probability=None if np.isnan(logits[row]) else float(chances[row]),
        )
        for rank, row in enumerate(order, 1)
    ]
