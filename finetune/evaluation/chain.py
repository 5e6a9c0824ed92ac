"""`srec finetune evaluate`: what each step of the chain gets right, through the real nodes.

The truth of a shop is read here and in `evaluate` alone; without it the figures that need it are
None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import State
from mllm_srec.finetune.data.settings import SplitBy, SplitHow, SplitPart
from mllm_srec.finetune.data.splits import (
    COLD,
    Case,
    Split,
    require_cases,
    sample_cases,
    split_home,
)
from mllm_srec.finetune.data.utterances import Utterance
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.fusion import FUSION, Fusions, fuse_thrice, fusion_figures
from mllm_srec.finetune.evaluation.graph_ranking import check_learned
from mllm_srec.finetune.evaluation.labelled import BLOCK, evaluate_labelled
from mllm_srec.finetune.evaluation.metrics import Bin
from mllm_srec.finetune.evaluation.pairs import Pairs, check_described, rank_cases
from mllm_srec.finetune.evaluation.reasons import reason_figures
from mllm_srec.finetune.evaluation.scoring import score_pairs, scoring_figures
from mllm_srec.finetune.evaluation.taste import preference_figures, profile_figures
from mllm_srec.finetune.evaluation.truth import (
    drifts,
    read_items,
    require_truth,
    true_descriptions,
    unseen_items,
)
from mllm_srec.finetune.evaluation.understanding import (
    hand_written,
    held_out_phrasings,
    measure,
)
from mllm_srec.finetune.evaluation.watched_calls import AnswerCounts, WatchedCalls

MESSAGES = 1_000
"""Held-out phrasings of what users say."""
FREE = 200
"""Users, and items, that are asked again without the schema's constraint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainOptions:
    """What is measured, on whom."""

    truth: Path | None = None
    """The folder `truth` of the shop; or a file of labels, for what pictures and texts say."""
    part: SplitPart = "test"
    split_by: SplitBy = "user"
    """`time` has items without any training interaction."""
    users: int | None = None
    """Warm users, and as many cold ones, drawn by the seed; all when None."""
    pairs: int = 20_000
    """Labelled pairs at least, which a calibration error rests on."""
    messages: Path | None = None
    """Messages with what they mean, JSON lines, besides the held-out phrasings of the grammar."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What came out."""

    figures: dict[str, Any]
    """The object of `srec finetune evaluate --json`; with a file of labels only its fusion."""
    reliability: Sequence[Bin] = ()
    """Of the warm users' probabilities, whose calibration error the figures give; empty where there
    were no pairs to tell apart."""


def evaluate_chain(
    recommender: Recommender,
    options: ChainOptions,
    progress: Progress = lambda stage, done, total: None,
) -> ChainReport:
    """Measure fusion, preference, profile, scoring, reasons and understanding.

    Args:
        recommender: An open home whose items are fused.
        options: What and whom.
        progress: Told how far each stage is.

    Raises:
        FinetuneError: An item has no description yet, the labels or the truth do not fit the home,
            a file of the truth or the messages cannot be read, or users or messages are asked for
            beside a file of labels.
        SplitError: Nobody has likes enough to be asked for.
    """
    if options.truth is not None and options.truth.is_file():
        if options.users is not None or options.messages is not None:
            raise FinetuneError(
                f"{str(options.truth)!r} is a file of labels, which measure descriptions alone: "
                "leave --users and --messages out"
            )
        return ChainReport(evaluate_labelled(recommender, options.truth, progress))
    deployment = recommender.deployment
    if options.truth is not None:
        if not options.truth.exists():
            raise FinetuneError(
                f"no {str(options.truth)!r}: give the folder `truth` that `srec sample-shop` "
                "wrote, or a file of labels"
            )
        require_truth(options.truth, deployment.home.catalogue.items())
    said = {"held_out": held_out_phrasings(MESSAGES)}
    if options.messages is not None:
        said["given"] = hand_written(options.messages)
    check_described(deployment.home)
    settings = deployment.settings
    # What is scored here are drawn pairs; the list itself is `srec evaluate`'s to measure.
    context = recommender.context
    single = Recommender(
        deployment, replace(context, settings=replace(context.settings, candidates=1))
    )
    check_learned(deployment, SplitHow(options.split_by, 1))
    split = split_home(deployment.home, min_rating=settings.liked_rating, split_by=options.split_by)
    require_cases(split, options.part)
    warm = _some([case for case in split.cases(options.part) if not case.cold], options)
    cold = _some([case for case in split.cases(options.part) if case.cold], options)
    cases = [*warm, *cold]
    chain = _Chain.run(single, cases, options, progress)
    states = chain.states[: len(warm)]
    scoring = score_pairs(
        single,
        split,
        cases,
        chain.states,
        truth=options.truth,
        pairs=options.pairs,
        seed=options.seed,
        progress=progress,
    )
    free = _Chain.run(single, warm[:FREE], options, progress, constrained=False)
    figures: dict[str, Any] = {
        "part": options.part,
        "users": len(warm),
        "engine": deployment.info.engine,
        "fusion": fusion_figures(chain.fusions) if chain.fusions else dict.fromkeys(FUSION),
        **_tastes(states, single, options.truth),
        "scoring": {
            **scoring_figures(scoring, split, cases),
            "auc_without_picture": _auc_without_picture(single, split, warm, options, progress),
        },
        "understanding": _understanding(single, said, progress),
        **chain.counts.to_dict(),
        **reason_figures(recommender, warm, progress),
        "without_schema": free.counts.to_dict(),
        "notes": _notes(len(warm), scoring.pairs, options),
    }
    scored = scoring.of(np.arange(len(cases)) < len(warm))
    return ChainReport(figures, scored.bins if figures["scoring"].get("ece") is not None else ())


def _notes(warm: int, pairs: Pairs, options: ChainOptions) -> list[str]:
    """What could not be measured as asked, and why."""
    notes = []
    if not warm:
        notes.append(
            f"nobody in the {options.part} part has more than {COLD} training interactions: what "
            "is said of warm users was not measured"
        )
    if len(pairs.labels) < options.pairs:
        notes.append(
            f"scoring rests on {len(pairs.labels):,} pairs, {int((~pairs.labels).sum()):,} of them "
            f"not picked, in place of {options.pairs:,}: the catalogue has no more items that "
            "these users have not met; without both kinds there is no AUC and no calibration error"
        )
    return notes


def _understanding(
    recommender: Recommender, said: Mapping[str, Sequence[Utterance]], progress: Progress
) -> dict[str, Any]:
    found = {}
    for name, messages in said.items():
        stage = f"understand {name.replace('_', ' ')}"
        progress(stage, 0, len(messages))
        asked = measure(recommender.context.calls, messages)
        found[name] = recommender.deployment.run(asked).to_dict()
        progress(stage, len(messages), len(messages))
    return found


def _auc_without_picture(
    recommender: Recommender,
    split: Split,
    cases: Sequence[Case],
    options: ChainOptions,
    progress: Progress,
) -> float | None:
    """The AUC of the same pairs after a chain that never saw a picture."""
    blind = recommender.without("picture")
    states = rank_cases(blind, cases, progress, "rank without picture")
    scoring = score_pairs(
        blind,
        split,
        cases,
        states,
        truth=None,
        pairs=options.pairs,
        seed=options.seed,
        progress=progress,
        stage="score without picture",
    )
    return scoring.figures().get("auc")


def _some(cases: Sequence[Case], options: ChainOptions) -> list[Case]:
    return sample_cases(cases, options.users, seed=options.seed)


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the model answered for some users and for the unseen items."""

    states: Sequence[State]
    fusions: Fusions | None
    """None without the truth."""
    counts: AnswerCounts

    @classmethod
    def run(
        cls,
        recommender: Recommender,
        cases: Sequence[Case],
        options: ChainOptions,
        progress: Progress,
        *,
        constrained: bool = True,
    ) -> "_Chain":
        calls = WatchedCalls(recommender.context.calls, constrained=constrained)
        context = replace(recommender.context, calls=calls)
        deployment = recommender.deployment
        kind = "" if constrained else " without schema"
        states = rank_cases(Recommender(deployment, context), cases, progress, f"rank{kind}")
        fusions = None
        if options.truth is not None:
            truths = read_items(options.truth)
            unseen = sorted(unseen_items(options.truth))
            if not constrained:
                unseen = np.random.default_rng(options.seed).permutation(unseen)[:FREE].tolist()
            items = list(deployment.home.catalogue.items(unseen).values())
            fusions = Fusions([], [], [])
            for start in range(0, len(items), BLOCK):
                progress(f"fuse{kind}", start, len(items))
                block = items[start : start + BLOCK]
                fusions += deployment.run(fuse_thrice(context, recommender.context, block, truths))
            progress(f"fuse{kind}", len(items), len(items))
        fallbacks = sum(mark for state in states for mark in state.fallback_marks)
        calls.counts.fallbacks = fallbacks + (fusions.fallbacks if fusions else 0)
        return cls(states, fusions, calls.counts)


def _tastes(
    states: Sequence[State], recommender: Recommender, truth: Path | None
) -> dict[str, dict[str, float | None]]:
    """The figures of preference and profile; without the truth, only what needs none."""
    preference: dict[str, float | None] = dict.fromkeys(("attribute_f1", "direction_accuracy"))
    profile: dict[str, float | None] = dict.fromkeys(("attribute_f1",))
    if truth is not None:
        true, settings = true_descriptions(truth), recommender.deployment.settings
        preference = preference_figures(states, true, drifts(truth), settings)
        profile = profile_figures(states, true, settings)
    supported = [bool(entry["item_ids"]) for state in states for entry in state.profile]
    profile["evidence_supported"] = sum(supported) / len(supported) if supported else None
    return {"preference": preference, "profile": profile}
