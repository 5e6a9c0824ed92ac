"""`srec evaluate`: one home, one split, all rows side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.baselines import Scorer, fit_baselines
from mllm_srec.finetune.ceilings import fit_ceilings
from mllm_srec.finetune.evaluate import RankingProtocol, evaluate_ranking
from mllm_srec.finetune.graph_ranking import GraphRanker, split_home
from mllm_srec.finetune.splits import DayOrder, SplitBy
from mllm_srec.store.home import Home

GRAPH_ROWS = ("retrieval", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingOptions:
    """What is asked, and of whom."""

    part: Literal["validation", "test"] = "test"
    protocol: RankingProtocol = "full"
    split_by: SplitBy = "user"
    day_order: DayOrder = "published"
    users: int | None = None
    """Cases drawn by the seed; all when None."""
    rows: tuple[str, ...] | None = None
    """Names of the rows; all when None. No model is loaded without `retrieval` or `full`."""
    truth: Path | None = None
    """The folder `truth` of a drawn shop, for the rows `law` and `observer`."""
    seed: int = 1


def evaluate_home(
    path: Path,
    options: RankingOptions,
    *,
    settings: Settings,
    engine: str = "auto",
    model: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Rank the held-out cases of a home by every recommender.

    Raises:
        ValueError: A row is unknown.
        LeakError: A target can be seen by what is evaluated.
    """
    with Home.open(path) as home:
        split = split_home(
            home,
            settings,
            split_by=options.split_by,
            day_order=options.day_order,
            seed=options.seed,
        )
    scorers: dict[str, Scorer] = dict(
        fit_baselines(split, min_rating=settings.liked_rating, tune=True)
    )
    if options.truth is not None:
        scorers |= fit_ceilings(options.truth, split, split.cases(options.part))
    wanted = options.rows or (*GRAPH_ROWS, *scorers)
    if unknown := set(wanted) - set(scorers) - set(GRAPH_ROWS):
        raise ValueError(f"no row {sorted(unknown)[0]!r}: there are {[*GRAPH_ROWS, *scorers]}")
    chosen = {name: scorer for name, scorer in scorers.items() if name in wanted}

    def rank(ranker: GraphRanker | None, weight: float | None) -> dict[str, Any]:
        report = evaluate_ranking(
            chosen,
            split,
            part=options.part,
            protocol=options.protocol,
            rank=ranker,
            users=options.users,
            score_weight=weight,
            seed=options.seed,
        )
        return report.model_dump()

    if not set(wanted) & set(GRAPH_ROWS):
        return rank(None, None)
    with Deployment.open(
        path, engine=engine, model=model, settings=settings, say=say
    ) as deployment:
        ranker = GraphRanker(deployment, split)
        return rank(ranker, ranker.recommender.context.weights.model)
