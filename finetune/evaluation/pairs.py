"""Labelled pairs of user and item: each target against unseen items drawn by popularity."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.nodes.fuse_items import described
from mllm_srec.agent.nodes.score_targets import NO, YES, prompts
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import State
from mllm_srec.finetune.data.splits import Case, Split
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.evaluate import draw_unseen, popularity_log_q
from mllm_srec.finetune.evaluation.metrics import NEGATIVES, mix_weights
from mllm_srec.llm.engine import LabelScores
from mllm_srec.store.home import Home

BLOCK = 4_096
"""Pairs that are scored together."""

Value = TypeVar("Value", np.int64, np.float64)


@dataclass(frozen=True, slots=True)
class Pairs:
    """P pairs of a case and an item; those of a case stand together, its target first."""

    cases: NDArray[np.int64]
    """Row of the case (P,)."""
    items: NDArray[np.int64]
    """Row of `Split.item_ids` (P,)."""
    labels: NDArray[np.bool_]
    """Whether the item is the case's target (P,)."""
    log_q: NDArray[np.float64]
    """Log of the distribution that drew the negatives (N,)."""

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights (P,) of the mix that probabilities are calibrated to."""
        return mix_weights(self.labels)

    def by_case(self, values: NDArray[Value], cases: int) -> list[NDArray[Value]]:
        """Values of the pairs (P,), apart for each case (U)."""
        counts = np.bincount(self.cases, minlength=cases)
        # Of no case numpy makes one empty part.
        return np.split(values, np.cumsum(counts)[:-1])[:cases]

    def of(self, members: NDArray[np.bool_]) -> "Pairs":
        """The pairs of some cases (U,); rows of cases stay those of all."""
        kept = members[self.cases]
        return Pairs(self.cases[kept], self.items[kept], self.labels[kept], self.log_q)


def draw_pairs(
    cases: Sequence[Case], split: Split, *, negatives: int = NEGATIVES, seed: int = 0
) -> Pairs:
    """Draw the negatives of some cases, each by the seed and its user alone."""
    rows = {item_id: row for row, item_id in enumerate(split.item_ids)}
    drawn = draw_unseen(split, cases, negatives, seed=seed)
    asked = [[rows[case.target], *unseen] for case, unseen in zip(cases, drawn, strict=True)]
    return Pairs(
        cases=np.repeat(np.arange(len(cases)), [len(one) for one in asked]),
        items=np.array([row for one in asked for row in one], np.int64),
        labels=np.array([place == 0 for one in asked for place in range(len(one))], np.bool_),
        log_q=popularity_log_q(split),
    )


def model_logits(
    recommender: Recommender,
    states: Sequence[State],
    pairs: Pairs,
    item_ids: Sequence[str],
    *,
    scored: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """The model's logits (P,) of the pairs, through the scoring prompts of the cases' states.

    `scored` is told after every `BLOCK` pairs how many are done.
    """
    context = recommender.context
    fused = described(context.home.catalogue, item_ids, without=context.settings.without)
    asked = [
        prompt
        for state, rows in zip(states, pairs.by_case(pairs.items, len(states)), strict=True)
        for prompt in prompts(state, context, {item_ids[row]: fused[item_ids[row]] for row in rows})
    ]
    answers = list[LabelScores]()
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        answers += recommender.deployment.run(context.calls.score_labels(block, (YES, NO)))
        scored(len(answers))
    return np.array([answer.logprobs[YES] - answer.logprobs[NO] for answer in answers])


def check_described(home: Home) -> None:
    """Refuse to measure a home of which items cannot be scored yet.

    Raises:
        FinetuneError: Some have no description; the figures would be those of a part of the shop.
    """
    items = home.catalogue.item_count()
    missing = items - home.catalogue.representation_count()
    if missing:
        raise FinetuneError(
            f"{missing:,} of {items:,} items {'has' if missing == 1 else 'have'} no description "
            "yet: run `srec ingest` again"
        )


def request(case: Case) -> Request:
    """The request that the target of a case answers: its history, and its time."""
    return Request(case.user_id, history=case.history, now=case.time)


def rank_cases(
    recommender: Recommender, cases: Sequence[Case], progress: Progress, stage: str
) -> list[State]:
    """Run the chain for each case, without reasons; the end states, in the order of the cases."""
    done = itertools.count(1)
    progress(stage, 0, len(cases))
    return recommender.rank_many(
        [request(case) for case in cases],
        lambda *_: progress(stage, next(done), len(cases)),
    )
