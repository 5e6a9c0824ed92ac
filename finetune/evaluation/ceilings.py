"""The two ceilings of a drawn shop as rows of an evaluation: the law, and the reference observer.

The law knows each user's hidden taste; the observer knows the items' true attributes and infers the
taste from the visible history. Both read the truth of a shop, which nothing else does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllm_srec.finetune.data.splits import Case, Split
from mllm_srec.finetune.evaluation.baselines import Scorer
from mllm_srec.finetune.evaluation.observer import Observer
from mllm_srec.finetune.evaluation.truth import read_items
from mllm_srec.finetune.shop.calendars import START
from mllm_srec.finetune.shop.law import Shop, Tastes, law_scores
from mllm_srec.finetune.shop.users import read_truth
from mllm_srec.store.records import DAY_S, Interaction

CEILINGS = ("observer", "law")
"""Names of the rows."""


class LawScorer:
    """The law's own ranking, at the time at which each user came back."""

    def __init__(self, shop: Shop, tastes: Tastes, times: Mapping[Interaction, int]) -> None:
        """Take the shop, the users' tastes, and when the user came back after an interaction."""
        self._shop = shop
        self._tastes = tastes
        self._times = times

    def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.floating]:
        """Log probability (U, N) of being picked next."""
        users = [history[0].user_id for history in histories]
        days = np.array([(self._times[history[-1]] - START) / DAY_S for history in histories])
        rows = np.array([int(user.removeprefix("u")) for user in users])
        return law_scores(self._shop, self._tastes, rows, days)


def fit_ceilings(truth: Path, split: Split, cases: Sequence[Case]) -> dict[str, Scorer]:
    """The rows `law` and `observer` for the cases of a split."""
    truths = read_items(truth)
    items = [truths[item_id] for item_id in split.item_ids]
    shop, tastes = read_truth(items, truth)
    times = {case.history[-1]: case.time for case in cases if case.time is not None}
    observer = Observer.fit(
        items,
        [Interaction.model_validate(row) for row in split.train.iter_rows(named=True)],
        [(case.history, case.target) for case in split.validation if not case.cold],
    )
    return {"law": LawScorer(shop, tastes, times), "observer": observer}
