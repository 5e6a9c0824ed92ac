"""`srec finetune evaluate`: what each step of the chain gets right, through the real nodes.

The truth of a shop is read here and in `evaluate` alone; without it the figures that need it are
None.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mllm_srec.agent.nodes.fuse_items import UNKNOWN, item_text
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.state import Settings, State
from mllm_srec.finetune.ceilings import fit_ceilings
from mllm_srec.finetune.graph_ranking import split_home
from mllm_srec.finetune.metrics import calibration_error, pair_auc
from mllm_srec.finetune.pairs import draw_pairs, model_logits, request
from mllm_srec.finetune.shop.vocabulary import ItemTruth
from mllm_srec.finetune.splits import Case, Split
from mllm_srec.finetune.teacher import Historian, annotate
from mllm_srec.finetune.truth import Drift, drifts, label_of, read_items, unseen_items
from mllm_srec.store.records import FusedItem, Item, Representation
from mllm_srec.tools.ranking import calibrated

PICTURE_ATTRIBUTES = ("colour", "pattern", "style")
CARRIED = ("material", "brand", "purpose")


def evaluate_chain(
    recommender: Recommender,
    *,
    truth: Path | None,
    users: int | None = None,
    seed: int = 1,
    part: Literal["validation", "test"] = "test",
) -> dict[str, Any]:
    """Measure fusion, preference, profile and scoring.

    Args:
        recommender: An open home whose items are fused.
        truth: The folder `truth` of the shop.
        users: How many warm users, drawn by the seed; all when None.
        seed: Draws users and negatives.
        part: `validation` or `test`.

    Returns:
        The object of `srec finetune evaluate --json`.
    """
    home = recommender.deployment.home
    settings = recommender.deployment.settings
    split = split_home(home, settings)
    rng = np.random.default_rng(seed)
    cases = [case for case in split.cases(part) if not case.cold]
    chosen = [cases[row] for row in np.sort(rng.permutation(len(cases))[:users])]
    states = recommender.rank_many([request(case) for case in chosen])
    representations = home.catalogue.representations()
    truths = read_items(truth) if truth else None
    fusion: dict[str, float | None] = dict.fromkeys(FUSION)
    preference: dict[str, float | None] = dict.fromkeys(("attribute_f1", "direction_accuracy"))
    profile: dict[str, float | None] = dict.fromkeys(("attribute_f1",))
    if truth and truths:
        items = home.catalogue.items()
        fusion |= fusion_figures(truths, representations, items, unseen_items(truth))
        annotated = {item_id: annotate(label_of(item)).fused for item_id, item in truths.items()}
        preference |= preference_figures(states, annotated, drifts(truth), settings)
        profile |= profile_figures(states, annotated, settings)
    profile["evidence_supported"] = _share(
        bool(statement["item_ids"]) for state in states for statement in state.profile
    )
    scoring = scoring_figures(recommender, split, chosen, states, truth, rng)
    marks = [mark for state in states for mark in _marks(state)]
    marks += [entry.fallback for entry in representations.values()]
    return {
        "part": part,
        "users": len(chosen),
        "engine": recommender.deployment.info.engine,
        "fusion": fusion,
        "preference": preference,
        "profile": profile,
        "scoring": scoring,
        # A plain form stands for every answer that stayed invalid, and for nothing else.
        "invalid_answers": sum(marks),
        "fallbacks": sum(marks),
        "answers": len(marks),
    }


FUSION = (
    "type_accuracy",
    "colour_accuracy",
    "pattern_accuracy",
    "style_accuracy",
    "conflict_accuracy",
    "hallucination_rate",
    "copy_accuracy",
)


def fusion_figures(
    truths: Mapping[str, ItemTruth],
    representations: Mapping[str, Representation],
    items: Mapping[str, Item],
    only: Iterable[str] | None = None,
) -> dict[str, float | None]:
    """Hold fused descriptions against the truth; see `FUSION` for the names of the figures."""
    ids = [item_id for item_id in (only or representations) if item_id in representations]
    pairs = [(truths[item_id], representations[item_id].fused, items[item_id]) for item_id in ids]
    with_picture = [(truth, fused) for truth, fused, _ in pairs if truth.has_picture]
    agreeing = [(truth, fused) for truth, fused in with_picture if not truth.contradicts]
    contradicting = [(truth, fused) for truth, fused in with_picture if truth.contradicts]
    named = [
        _supported(name, value, truth, item_text(item))
        for truth, fused, item in pairs
        for name, value in _claims(fused)
    ]
    carried = [
        fused.told.get(name, "").casefold() == getattr(truth, name).casefold()
        for truth, fused, item in pairs
        for name in CARRIED
        if getattr(truth, name).casefold() in item_text(item).casefold()
    ]
    return {
        "type_accuracy": _share(fused.what == truth.what for truth, fused in agreeing),
        **{
            f"{name}_accuracy": _share(
                fused.seen.get(name) == getattr(truth, name) for truth, fused in agreeing
            )
            for name in PICTURE_ATTRIBUTES
        },
        "conflict_accuracy": _share(
            fused.seen.get("colour") == truth.colour
            and fused.conflicts.get("colour") == truth.text_colour
            for truth, fused in contradicting
        ),
        "hallucination_rate": _share(not good for good in named),
        "copy_accuracy": _share(carried),
    }


def _claims(fused: FusedItem) -> Iterable[tuple[str, str]]:
    if fused.what != UNKNOWN:
        yield "what", fused.what
    yield from fused.seen.items()
    yield from fused.told.items()


def _supported(name: str, value: str, truth: ItemTruth, text: str) -> bool:
    """Whether the picture shows a value, or the text says it."""
    shown = truth.has_picture and value == getattr(truth, name, None)
    return shown or value.casefold() in text.casefold()


def preference_figures(
    states: Sequence[State],
    annotated: Mapping[str, FusedItem],
    moved: Mapping[str, Drift],
    settings: Settings,
) -> dict[str, float | None]:
    """F1 of the values named against a careful count; share of named directions that are right.

    A direction counts from the change on: a rising value should be one that the hidden taste
    gained, a fading one a value that it lost.
    """
    pairs, right = [], []
    for state in states:
        if not state.windows:
            continue
        said = Preference.model_validate(state.windows[-1]["preference"])
        counted = Historian(state.history, annotated, settings).preference(len(state.history))
        pairs.append((_held(said), _held(counted)))
        drift = moved.get(state.user_id)
        for window in state.windows if drift else ():
            last = state.history[window["stop"] - 1]["timestamp"] or 0
            if drift and last > drift.change:
                named = Preference.model_validate(window["preference"])
                right += [v in drift.gained for v in named.rising if v in drift.gained | drift.lost]
                right += [v in drift.lost for v in named.fading if v in drift.gained | drift.lost]
    return {"attribute_f1": _f1(pairs), "direction_accuracy": _share(right)}


def _held(preference: Preference) -> set[str]:
    return {*preference.strong, *preference.clear, *preference.slight}


def profile_figures(
    states: Sequence[State], annotated: Mapping[str, FusedItem], settings: Settings
) -> dict[str, float | None]:
    """F1 of the (strength, value) statements against a careful count."""
    pairs = []
    for state in states:
        said = {(entry["strength"], entry["value"]) for entry in state.profile}
        counted = Historian(state.history, annotated, settings).profile(len(state.history))
        pairs.append((said, {(name, value) for name, values in counted for value in values}))
    return {"attribute_f1": _f1(pairs)}


def scoring_figures(
    recommender: Recommender,
    split: Split,
    cases: Sequence[Case],
    states: Sequence[State],
    truth: Path | None,
    rng: np.random.Generator,
) -> dict[str, float | None]:
    """AUC of targets against unseen items drawn by popularity, the same for all three scorers."""
    pairs = draw_pairs(cases, split, rng)
    labels = pairs.labels.ravel()
    logits = model_logits(recommender, states, pairs.asked, split.item_ids)
    weights = recommender.context.weights
    values = calibrated(logits, weights.calibration).ravel()
    figures: dict[str, float | None] = {
        "auc": pair_auc(logits.ravel(), labels),
        "ece": calibration_error(1 / (1 + np.exp(-values)), labels),
        "observer_auc": None,
        "law_auc": None,
        "pairs": float(labels.size),
    }
    if truth:
        for name, scorer in fit_ceilings(truth, split, cases).items():
            scores = scorer.scores([case.history for case in cases])
            taken = np.take_along_axis(np.asarray(scores - pairs.log_q), pairs.asked, axis=1)
            figures[f"{name}_auc"] = pair_auc(taken.ravel().astype(np.float64), labels)
    return figures


def _marks(state: State) -> list[bool]:
    return [*(window["fallback"] for window in state.windows), state.profile_fallback]


def _share(values: Iterable[bool]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


def _f1(pairs: Sequence[tuple[set[Any], set[Any]]]) -> float | None:
    """Micro-averaged F1 of said against true."""
    hits = sum(len(said & true) for said, true in pairs)
    total = sum(len(said) + len(true) for said, true in pairs)
    return 2 * hits / total if total else None
