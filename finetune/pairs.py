"""Labelled pairs of user and item: each target against unseen items drawn by popularity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.nodes.profile_user import profile_text
from mllm_srec.agent.nodes.score_targets import NO, YES, now_text, preference_text, score_prompt
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.state import State
from mllm_srec.finetune.evaluate import popularity_log_q
from mllm_srec.finetune.splits import Case, Split

NEGATIVES = 5
"""Unseen items that stand against each target."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Items asked about for each case, the target first."""

    asked: NDArray[np.int64]
    """(U, 1 + NEGATIVES), rows of `Split.item_ids`."""
    log_q: NDArray[np.float64]
    """(N,), log of the distribution that drew the negatives."""

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Whether the pair is a target (U, 1 + NEGATIVES)."""
        labels = np.zeros(self.asked.shape, np.bool_)
        labels[:, 0] = True
        return labels


def draw_pairs(cases: Sequence[Case], split: Split, rng: np.random.Generator) -> Pairs:
    """Draw the negatives of some cases."""
    rows = {item_id: row for row, item_id in enumerate(split.item_ids)}
    log_q = popularity_log_q(split)
    return Pairs(np.array([_candidates(case, rows, log_q, rng) for case in cases]), log_q)


def _candidates(
    case: Case, rows: Mapping[str, int], log_q: NDArray[np.float64], rng: np.random.Generator
) -> list[int]:
    """The target, and unseen items drawn by popularity without repetition."""
    seen = [rows[entry.item_id] for entry in case.history] + [rows[case.target]]
    q = np.exp(log_q)
    q[seen] = 0
    drawn = rng.choice(len(q), size=NEGATIVES, replace=False, p=q / q.sum())
    return [rows[case.target], *drawn.tolist()]


def model_logits(
    recommender: Recommender,
    states: Sequence[State],
    asked: NDArray[np.int64],
    item_ids: Sequence[str],
) -> NDArray[np.float64]:
    """The model's logits (U, 1 + NEGATIVES) of the asked items, through the scoring prompts."""
    fused = recommender.deployment.home.catalogue.representations()
    prompts = [
        score_prompt(
            profile_text(state.profile),
            preference_text(state),
            now_text(state),
            fused[item_ids[row]].fused,
        )
        for state, drawn in zip(states, asked, strict=True)
        for row in drawn
    ]
    answers = recommender.deployment.run(
        recommender.deployment.calls.score_labels(prompts, (YES, NO))
    )
    logits = [answer.logprobs[YES] - answer.logprobs[NO] for answer in answers]
    return np.array(logits).reshape(asked.shape)


def request(case: Case) -> Request:
    """The request that the target of a case answers: its history, and its time."""
    return Request(case.user_id, history=case.history, now=case.time)
