"""How well the chain reads a history: the values that preference and profile name."""

from collections.abc import Mapping, Sequence
from typing import Any

from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.state import Settings, State
from mllm_srec.finetune.data.teacher import Historian
from mllm_srec.finetune.evaluation.fusion import share
from mllm_srec.finetune.evaluation.truth import Drift
from mllm_srec.store.records import FusedItem

Counts = Sequence[tuple[set[Any], set[Any]]]
"""What was said and what is true, one pair a user."""


def preference_figures(
    states: Sequence[State],
    annotated: Mapping[str, FusedItem],
    moved: Mapping[str, Drift],
    settings: Settings,
) -> dict[str, float | None]:
    """Values named against a careful count; share of named directions that are right.

    A direction counts from the change on: a rising value should be one that the hidden taste
    gained, a fading one a value that it lost.
    """
    pairs, right = [], []
    for state in states:
        if not state.windows:
            continue
        said = Preference.model_validate(state.windows[-1]["preference"])
        counted = Historian(state.history, annotated, settings).preference(len(state.history))
        pairs.append((set(said.preferred), set(counted.preferred)))
        if drift := moved.get(state.user_id):
            right += _directions(state, drift)
    return {
        **agreement(pairs),
        "direction_accuracy": share(right),
        "directions": float(len(right)),
    }


def _directions(state: State, drift: Drift) -> list[bool]:
    """Whether each direction that is named after the change is the drift's."""
    right = list[bool]()
    moved = drift.gained | drift.lost
    for window in state.windows:
        if (state.history[window["stop"] - 1]["timestamp"] or 0) <= drift.change:
            continue
        named = Preference.model_validate(window["preference"])
        right += [value in drift.gained for value in named.rising if value in moved]
        right += [value in drift.lost for value in named.fading if value in moved]
    return right


def profile_figures(
    states: Sequence[State], annotated: Mapping[str, FusedItem], settings: Settings
) -> dict[str, float | None]:
    """Statements, as strength and value, against a careful count."""
    pairs = []
    for state in states:
        said = {(entry["strength"], entry["value"]) for entry in state.profile}
        counted = Historian(state.history, annotated, settings).profile(len(state.history))
        pairs.append((said, {(name, value) for name, values in counted for value in values}))
    return agreement(pairs)


def agreement(pairs: Counts) -> dict[str, float | None]:
    """Micro-averaged precision, recall and F1 of said against true."""
    hits = sum(len(said & true) for said, true in pairs)
    said = sum(len(each) for each, _ in pairs)
    true = sum(len(each) for _, each in pairs)
    return {
        "precision": hits / said if said else None,
        "recall": hits / true if true else None,
        "attribute_f1": 2 * hits / (said + true) if said + true else None,
    }
