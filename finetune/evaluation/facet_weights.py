"""How much a value in common says, by its attribute: fitted on the training part, without a model.

Among items drawn at random, the one that was liked next should have the highest weighed sum of what
its values say. What is popular is liked more often whatever its values are, so popularity has a
weight of its own there, which is not kept.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import polars as pl

from mllm_srec.finetune.data.splits import Split
from mllm_srec.finetune.evaluation.conditional_logit import fit_choices
from mllm_srec.tools.facets import FacetModel, FacetWeights, Memories

NAMES = 16
"""The most frequent attributes have weights of their own."""
TARGETS = 3
"""Latest likes of a user that are learned from, each with what was liked before it."""
CASES, FEWEST = 2_000, 100
OTHERS = 200
"""Items drawn at random that a target is told from."""


def fit_facet_weights(
    facets: FacetModel, split: Split, *, min_rating: float | None, seed: int = 0
) -> FacetWeights:
    """Fit the weights of a catalogue's attributes on the likes of the training part.

    Args:
        facets: The values of the catalogue; its own weights do not count.
        split: Of which only the training part is read.
        min_rating: Lowest rating that is a like.
        seed: Of the users and of the items that targets are told from.

    Returns:
        The weights; those that nothing was fitted for where there are fewer than `FEWEST` likes to
        learn from, or none of them has a value in common with others.
    """
    rng = np.random.default_rng(seed)
    liked = split.liked(min_rating)
    popularity = dict(liked["item_id"].value_counts().iter_rows())
    log_likes = np.log1p([popularity.get(item_id, 0) for item_id in facets.item_ids])
    described = (case for case in _cases(liked, rng) if case[1] in facets.rows)
    cases = list(islice(described, CASES))
    if len(cases) < FEWEST or len(facets.item_ids) < 2:
        return FacetWeights()
    names = facets.names[:NAMES]
    features, present = [], []
    for history, target in cases:
        rows = np.append(facets.rows[target], rng.integers(0, len(facets.item_ids), OTHERS))
        met = [facets.rows[one] for one in (*history, target) if one in facets.rows]
        # What is liked already is no alternative.
        present.append(np.append(True, ~np.isin(rows[1:], met)))
        evidence = facets.evidence(history, rows, len(names))
        features.append(np.column_stack([log_likes[rows], evidence]))
    chosen = np.zeros(len(cases), np.int64)
    weights = fit_choices(np.stack(features), np.stack(present), chosen, free=0)[1:]
    recent, lasting = weights.reshape(2, len(names) + 1).tolist()
    if not any(weights):
        return FacetWeights()
    pairs = [Memories(*pair) for pair in zip(recent, lasting, strict=True)]
    return FacetWeights(named=dict(zip(names, pairs, strict=False)), others=pairs[-1])


def _cases(liked: pl.DataFrame, rng: np.random.Generator) -> Iterator[tuple[Sequence[str], str]]:
    """The latest likes of all users in an order drawn at random, each with the likes before it."""
    histories = liked.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
    for user in rng.permutation(len(histories)):
        history = histories[user]
        for end in range(max(len(history) - TARGETS, 1), len(history)):
            yield history[:end], history[end]
