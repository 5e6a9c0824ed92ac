"""Weights that make what was chosen most likely among what might have been: conditional logit.

McFadden (1974): Conditional logit analysis of qualitative choice behavior.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from mllm_srec.finetune.evaluation.metrics import Floats

SHRINKAGE = 1.0
"""Precision of the prior on each weight, features having deviation 1: worth little beside hundreds
of choices, but it holds a feature that is nearly constant."""


def fit_choices(
    features: Floats, present: NDArray[np.bool_], chosen: NDArray[np.int64], *, free: int
) -> Floats:
    """Fit the weights (F,) of features under which the chosen things are most likely.

    Only one feature may weigh against a thing: the others are evidence for it, and a negative
    weight would be the noise of few choices.

    Args:
        features: Of what each choice was made among (U, C, F).
        present: Which places of a choice hold something (U, C).
        chosen: The place of what was chosen (U,).
        free: The feature whose weight may be negative.
    """
    spread = [one[mask].std(axis=0) for one, mask in zip(features, present, strict=True)]
    deviation = np.mean(spread, axis=0)
    # A feature that never differs inside a choice must not explode.
    scale = np.where(deviation > 1e-6, deviation, 1.0)
    scaled, choices = features / scale, np.arange(len(chosen))

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = np.where(present, scaled @ weights, -np.inf)
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        value = -np.log(np.maximum(chances[choices, chosen], 1e-300)).sum()
        slope = np.einsum("uc,ucf->f", chances, scaled) - scaled[choices, chosen].sum(axis=0)
        prior = SHRINKAGE * weights
        return float(value + (prior * weights).sum() / 2), slope + prior

    bounds = [(None if feature == free else 0.0, None) for feature in range(len(scale))]
    start = np.zeros(len(scale))
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x / scale, np.float64)
