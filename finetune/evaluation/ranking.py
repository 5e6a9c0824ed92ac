"""`srec evaluate`: one home, one split, all rows side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import Part, Settings
from mllm_srec.finetune.data.settings import DayOrder, RankingProtocol, SplitBy, SplitHow, SplitPart
from mllm_srec.finetune.data.splits import Split, require_cases, split_home
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.baselines import (
    BASELINES,
    TUNING_USERS,
    Scorer,
    fit_baselines,
)
from mllm_srec.finetune.evaluation.ceilings import CEILINGS, fit_ceilings
from mllm_srec.finetune.evaluation.evaluate import (
    FULL,
    KNOWS_POPULARITY,
    NEGATIVES,
    RETRIEVAL,
    Ranker,
    Trial,
    run_trial,
)
from mllm_srec.finetune.evaluation.graph_ranking import (
    GraphRanker,
    check_fitted,
    check_learned,
    fitted_in,
    without_fitted,
)
from mllm_srec.finetune.evaluation.report import Report, summarize
from mllm_srec.finetune.evaluation.truth import require_truth
from mllm_srec.llm.engine import Engine
from mllm_srec.store.home import Home

GRAPH_ROWS = (RETRIEVAL, FULL)
TUNING_SEED = 0
"""Of the validation users on whom settings, and the baseline to beat, are chosen."""
SHUFFLES = 5
"""Orders inside the days that `--day-order shuffled` is the mean of."""
DRAWS = 3
"""Draws of each user's negatives that the sampled protocol is the mean of."""
ABLATION = (
    "Rows 'without ...' leave a part out when the one model is asked; nothing was trained again, "
    "so they show what this model rests on, not what another could do. The candidates' stored "
    "vectors stay as they are."
)
SAMPLED = (
    "sampled protocol: 1 target among 20 drawn by popularity, ± over draws of the 20; not to be "
    "compared with full ranking"
)
UNFITTED = (
    "rows of the graph: the weights of retrieval and of the model's score are defaults; `srec "
    "finetune combine` has not fitted them in this home with this model"
)
VALIDATION = (
    "validation part: settings of the baselines, and weights that `combine` fitted, were chosen on "
    "these cases; only the test part says how good they are"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingOptions:
    """What is asked, and of whom."""

    part: SplitPart = "test"
    protocol: RankingProtocol = "full"
    split_by: SplitBy = "user"
    day_order: DayOrder = "published"
    shuffles: int = SHUFFLES
    """Orders inside the days, where they are shuffled."""
    targets: int = 1
    """Successive test targets of a user at most."""
    users: int | None = None
    """Users drawn by the seed; all when None."""
    rows: tuple[str, ...] | None = None
    """Names of the rows; all when None. No model is loaded without `retrieval` or `full`."""
    without: tuple[Part, ...] = ()
    """Parts of the chain, each left out in a row of its own."""
    truth: Path | None = None
    """The folder `truth` of a drawn shop, for the rows `law` and `observer`."""
    seed: int = 1

    @property
    def asks_model(self) -> bool:
        """Whether a row needs the recommendation graph."""
        return self.rows is None or bool(set(self.rows) & set(GRAPH_ROWS) or self.without)

    @property
    def trials(self) -> int:
        """Orders inside the days that are tried."""
        return self.shuffles if self.day_order == "shuffled" else 1

    @property
    def split_how(self) -> SplitHow:
        """What weights have to be fitted on as well."""
        return SplitHow(self.split_by, self.targets)

    @property
    def pools(self) -> int:
        """Draws of the negatives that are tried in each order."""
        return DRAWS if self.protocol == "sampled" else 1

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures has to know."""
        chosen = {
            SAMPLED: self.protocol == "sampled",
            ABLATION: bool(self.without),
            VALIDATION: self.part == "validation",
        }
        return [note for note, holds in chosen.items() if holds]


def evaluate_home(
    path: Path,
    options: RankingOptions,
    *,
    settings: Settings,
    engine: str | Engine = "auto",
    model: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda stage, done, total: None,
    others: Callable[[Split], Mapping[str, Scorer]] = lambda split: {},
) -> Report:
    """Rank the held-out cases of a home by every recommender.

    Args:
        path: The home.
        options: What is asked, and of whom.
        settings: Of the graph; its ratings say what a like is.
        engine: Kind of engine, or an engine.
        model: Folder of the model.
        say: Told what a person should know.
        progress: Told how many users the graph has ranked for.
        others: More rows that score the whole catalogue, fitted on a split.

    Raises:
        FinetuneError: A row is unknown, or the truth is not given or not that of the home.
        SplitError: The log cannot be split this way, or nobody has likes enough to be asked for.
        LeakError: A target can be seen by what is evaluated.
    """
    require_rows(options)
    with Home.open(path) as home:
        if options.truth is not None:
            require_truth(options.truth, home.catalogue.items())
        fused = {
            item_id: entry.fused for item_id, entry in home.catalogue.representations().items()
        }
        about: dict[str, Any] = {
            "split_by": options.split_by,
            "day_order": options.day_order,
            "targets": options.targets,
            "min_rating": settings.liked_rating,
        }
        notes = options.notes
        with _deployed(path, options, settings, engine=engine, model=model, say=say) as deployment:
            if deployment is not None:
                if not fitted_in(home, deployment.info.model_hash):
                    notes.append(UNFITTED)
                about |= {
                    "score_weight": deployment.weights().model,
                    "engine": deployment.info.engine,
                    "model": deployment.info.model,
                    "model_hash": deployment.info.model_hash,
                }
            evaluation = _Evaluation(
                home=home,
                options=options,
                settings=settings,
                deployment=deployment,
                progress=progress,
                others=others,
            )
            tried = [evaluation.trials(number) for number in range(options.trials)]
    trials = [trial for one in tried for trial in one.trials]
    about["notes"] = [
        *notes,
        *_left_out([one.left_out for one in tried]),
        *_asked_in_part(trials),
        *_few_others(trials),
    ]
    return summarize(
        trials,
        validation=[one.validation for one in tried],
        draws=options.pools,
        fused=fused,
        seed=options.seed,
        **about,
    )


def _left_out(counts: Sequence[int]) -> list[str]:
    """What a reader has to know where test cases are left out, of each order of the days."""
    if not any(counts):
        return []
    several = " in the several orders of the days" if len(counts) > 1 else ""
    return [
        f"{', '.join(f'{count:,}' for count in counts)} test cases{several} are left out: `srec "
        "finetune combine` was fitted on them; with --users, others stand in for theirs"
    ]


def _asked_in_part(trials: Sequence[Trial]) -> list[str]:
    """What a reader has to know where not all orders of the days ask the same users."""
    asked = [{case.user_id for case in trial.cases} for trial in trials]
    everybody = set().union(*asked)
    part = len(everybody) - len(everybody.intersection(*asked))
    if not part:
        return []
    return [
        f"{part:,} of the {len(everybody):,} users are not asked in every order of the days: in "
        "some nothing of theirs, or of whom they stand in for, can be held out"
    ]


def _few_others(trials: Sequence[Trial]) -> list[str]:
    """What a reader has to know where users have met nearly the whole catalogue."""
    others = np.concatenate(
        [outcome.ranks.negatives for trial in trials for outcome in trial.outcomes.values()]
    )
    if others.min() >= NEGATIVES:
        return []
    return [
        f"some targets stand among no more than {others.min():,} other items, as the catalogue has "
        "no more that the user has not met: a high place says little there"
    ]


def require_rows(options: RankingOptions) -> None:
    """Refuse names that no row can have, before anything is fitted.

    Raises:
        FinetuneError: A row is unknown, or needs a truth that is not given.
    """
    known = [*GRAPH_ROWS, *BASELINES, *CEILINGS]
    for name in options.rows or ():
        if name not in known:
            raise FinetuneError(f"no row {name!r}: there are {known}")
        if name in CEILINGS and options.truth is None:
            raise FinetuneError(
                f"row {name!r} knows what is true of a drawn shop: give its folder with `--truth`"
            )


@contextmanager
def _deployed(
    path: Path, options: RankingOptions, settings: Settings, **how: Any
) -> Iterator[Deployment | None]:
    """The home with its model on top, where a row needs one."""
    if not options.asks_model:
        yield None
        return
    with Deployment.open(path, settings=settings, **how) as deployment:
        yield deployment


class _Tried(NamedTuple):
    """What was made of one split."""

    trials: Sequence[Trial]
    """Of the sampled protocol several, each with other negatives."""
    validation: Trial
    """The baselines on the validation part."""
    left_out: int
    """Test cases that are not asked, since the weights were fitted on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluation:
    """What all trials of a home have in common."""

    home: Home
    options: RankingOptions
    settings: Settings
    deployment: Deployment | None
    """None where no row needs a model."""
    progress: Progress
    others: Callable[[Split], Mapping[str, Scorer]]

    def trials(self, number: int) -> _Tried:
        """One split: everybody's rankings of it, and the baselines' of its validation part."""
        options = self.options
        split, left_out = self._split(number)
        require_cases(split, options.part)
        # The graph refuses what cannot be ranked yet, so it comes before the long fits.
        rankers = self._rankers(split, number)
        scorers = {**self._scorers(split), **self.others(split)}
        trials = [
            run_trial(
                scorers,
                split,
                part=options.part,
                protocol=options.protocol,
                rankers=rankers,
                users=options.users,
                seed=options.seed,
                draw=draw,
            )
            for draw in range(options.pools)
        ]
        baselines = {name: one for name, one in scorers.items() if name not in KNOWS_POPULARITY}
        # The very cases that the settings were chosen on, see `Tuning`.
        validation = run_trial(
            baselines,
            split,
            part="validation",
            protocol=options.protocol,
            users=TUNING_USERS,
            seed=TUNING_SEED,
        )
        return _Tried(trials, validation, left_out)

    def _split(self, number: int) -> tuple[Split, int]:
        """The split of a trial without the test cases that the weights saw, and their number.

        Raises:
            LeakError: A target can be seen by what is evaluated.
        """
        options = self.options
        whole = split_home(
            self.home,
            min_rating=self.settings.liked_rating,
            split_by=options.split_by,
            day_order=options.day_order,
            targets=options.targets,
            seed=options.seed + number,
        )
        if self.deployment is None:
            return whole, 0
        model_hash = self.deployment.info.model_hash
        check_learned(self.deployment, options.split_how, day_order=options.day_order)
        check_fitted(self.home, options.split_how, model_hash)
        split = without_fitted(self.home, whole, model_hash)
        return split, len(whole.test) - len(split.test) if options.part == "test" else 0

    def _rankers(self, split: Split, number: int) -> dict[str, Ranker]:
        """The rows of the graph."""
        if self.deployment is None:
            return {}
        options = self.options
        ranker = GraphRanker(
            self.deployment,
            split,
            seed=options.seed,
            progress=self.progress,
            stage="rank" if options.trials == 1 else f"rank in order {number + 1}",
        )
        return {
            FULL: ranker,
            **{f"without {part}": ranker.without(part) for part in options.without},
        }

    def _scorers(self, split: Split) -> dict[str, Scorer]:
        """The rows that score the whole catalogue.

        Raises:
            FinetuneError: A row cannot be had for this log or catalogue.
        """
        options = self.options
        if options.rows is not None and set(options.rows) <= set(GRAPH_ROWS):
            return {}
        scorers = fit_baselines(
            split, min_rating=self.settings.liked_rating, tune=True, seed=TUNING_SEED
        )
        if options.truth is not None:
            scorers |= fit_ceilings(options.truth, split, split.cases(options.part))
        wanted = options.rows or tuple(scorers)
        if unknown := set(wanted) - set(scorers) - set(GRAPH_ROWS):
            raise FinetuneError(f"no row {min(unknown)!r}: there are {[*GRAPH_ROWS, *scorers]}")
        return {name: scorer for name, scorer in scorers.items() if name in wanted}
