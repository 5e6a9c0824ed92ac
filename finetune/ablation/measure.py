"""What a trained variant is worth: the ranking of held-out users, and the pairs behind the AUC."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import described, fuse_key, item_key
from mllm_srec.agent.state import State
from mllm_srec.finetune.ablation.variants import Variant
from mllm_srec.finetune.data.splits import Case, sample_cases, split_home
from mllm_srec.finetune.evaluation.graph_ranking import GraphRanker, combine_home
from mllm_srec.finetune.evaluation.metrics import Floats, ndcg_at
from mllm_srec.finetune.evaluation.pairs import draw_pairs, model_logits
from mllm_srec.llm.engine import Engine
from mllm_srec.store.home import Home

NEGATIVES = 20
"""Unseen items, drawn by popularity, that each user's target is told from."""
SEED = 1
"""Of the users and of their negatives: the same for every run, so that runs can be paired."""


class Measured(BaseModel):
    """One variant trained with one seed, user by user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    seed: int
    engine: str
    steps: int
    """Of training."""
    users: list[str]
    """U; the next fields are in this order."""
    ndcg: list[float]
    """NDCG@10 of the list over the whole catalogue (U,)."""
    retrieval_ndcg: list[float]
    """The same of the candidates before the model's score (U,)."""
    target_logits: list[float]
    """log p(Yes) - log p(No) of each target (U,)."""
    other_logits: list[list[float]]
    """The same of each user's unseen items."""
    score_weight: float
    """Weight of the model's calibrated logit, fitted on the validation part for this run."""
    fallbacks: float
    """Share of the chain's texts that code put in the place of the model's."""


def copy_shop(source: Home, folder: Path) -> None:
    """Make a home with the shop and the descriptions of another: measuring writes to a home.

    Made again after a kill it ends with the same content. The pictures are the other's own, linked.
    """
    shown, pictures = source.path / "pictures", folder / "pictures"
    with Home.open(folder, create=True) as home:
        if shown.is_dir() and not pictures.is_symlink():
            pictures.symlink_to(shown, target_is_directory=True)
        catalogue = source.catalogue
        histories = catalogue.histories(catalogue.user_ids()).values()
        home.catalogue.put_shop(
            catalogue.items().values(), (one for history in histories for one in history)
        )
        home.catalogue.put_representations(catalogue.representations().values())


def measure(
    home: Path,
    model: Path,
    variant: Variant,
    *,
    seed: int,
    steps: int,
    users: int,
    engine: Engine,
) -> Measured:
    """Fit the combination on validation users, then rank for test users.

    Args:
        home: The run's own, made by `copy_shop`; weights and vectors are written to it.
        model: The folder of what was trained.
        variant: How it is asked.
        seed: Of the training, for the record.
        steps: Of the training, for the record.
        users: Of each part, drawn by a fixed seed; all where there are not more.
        engine: That model, loaded.

    Raises:
        CombineError: There are too few validation users.
    """
    with Deployment.open(home, engine=engine, model=model, settings=variant.chain) as deployment:
        take_over(deployment)
        split = split_home(deployment.home, min_rating=variant.chain.liked_rating)
        ranker = GraphRanker(deployment, split, seed=SEED)
        fitted = combine_home(ranker, users=users, seed=SEED)
        cases = sample_cases(split.test, users, seed=SEED)
        states = ranker.states(cases)
        pairs = draw_pairs(cases, split, negatives=NEGATIVES, seed=SEED)
        logits = model_logits(ranker.recommender, states, pairs, split.item_ids)
        by_case = pairs.by_case(logits, len(cases))
        return Measured(
            variant=variant.name,
            seed=seed,
            engine=deployment.info.engine,
            steps=steps,
            users=[case.user_id for case in cases],
            ndcg=_ndcg(cases, [_final(state) for state in states]).tolist(),
            retrieval_ndcg=_ndcg(cases, [_retrieved(state) for state in states]).tolist(),
            target_logits=[float(one[0]) for one in by_case],
            other_logits=[one[1:].tolist() for one in by_case],
            score_weight=fitted.weights.model,
            fallbacks=float(np.mean([mark for state in states for mark in state.fallback_marks])),
        )


def take_over(deployment: Deployment) -> None:
    """Make the home's descriptions count as this model's own.

    They are the shared checkpoint's; a model whose later steps were trained describes nothing
    anew. The vectors are made of what the variant leaves of the descriptions.
    """
    catalogue, index = deployment.home.catalogue, deployment.home.representations
    without = deployment.settings.without
    lines = {
        item_id: fused.line
        for item_id, fused in described(catalogue, catalogue.item_ids(), without=without).items()
    }
    vectors = deployment.run(deployment.calls.embed(list(lines.values())))
    index.rebuild(deployment.index_facts(), [(list(lines), vectors)])
    key = fuse_key(deployment.context())
    items = catalogue.items()
    catalogue.put_representations(
        known.model_copy(update={"key": item_key(items[item_id], key)})
        for item_id, known in catalogue.representations().items()
    )


def _ndcg(cases: list[Case], lists: list[list[str]]) -> Floats:
    """NDCG@10 of each case (U,); a target that is not listed is a miss."""
    ranks = [
        float(listed.index(case.target)) if case.target in listed else np.inf
        for case, listed in zip(cases, lists, strict=True)
    ]
    return ndcg_at(np.array(ranks, np.float64), 10)


def _final(state: State) -> list[str]:
    return [entry["item_id"] for entry in state.candidates]


def _retrieved(state: State) -> list[str]:
    ordered = sorted(state.candidates, key=lambda entry: entry["retrieval_rank"])
    return [entry["item_id"] for entry in ordered]
