"""A finished run as a `Recommendation`: titles, lines and reasons put together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import all_there, pictured
from mllm_srec.agent.nodes.profile_user import stated
from mllm_srec.agent.nodes.score_targets import last_preference
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.results import (
    HistoryEntry,
    Profile,
    Recommendation,
    RecommendedItem,
    Statement,
    Window,
)
from mllm_srec.agent.state import PreferenceState, State
from mllm_srec.agent.tracing.tracer import Run
from mllm_srec.store.catalogue import Catalogue
from mllm_srec.tools.ranking import CombineWeights

NOTES = {
    "unknown": "This user is not in the log: the list rests on no history.",
    "empty": "This user has no interactions yet: the list rests on no history.",
    "cold": "This user has only a few interactions: the profile is tentative.",
}


def recommendation(
    deployment: Deployment, weights: CombineWeights, state: State, run: Run
) -> Recommendation:
    """What a run found, as callers read it.

    Raises:
        ItemGone: An item of it was deleted meanwhile.
    """
    told, floor = _Told.of(deployment.home.catalogue, state), deployment.noise_floor
    return Recommendation(
        user=state.user_id,
        engine=deployment.info.engine,
        model=deployment.info.model,
        trace_id=run.trace_id,
        preference=preference(state),
        profile=profile(state),
        items=_items(state, told),
        windows=_windows(state),
        history=_history(state, told),
        fallbacks=_fallbacks(state),
        noise_floor=None if floor is None else weights.score_change(floor),
        seconds={"total": run.total_seconds, **run.seconds},
        engine_seconds=run.engine_seconds,
        tokens=dict(run.tokens),
        path=tuple(run.path),
        notes=tuple(
            note
            for note in (NOTES.get(state.path), *state.notes, deployment.tracer.problem)
            if note is not None
        ),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What is told of the items of a run, by their ids."""

    titles: Mapping[str, str]
    lines: Mapping[str, str]
    """Of those that are described."""

    @classmethod
    def of(cls, catalogue: Catalogue, state: State) -> Self:
        ids = [entry["item_id"] for entry in (*state.candidates[: state.k], *state.history)]
        titles = {item_id: item.title for item_id, item in catalogue.items(ids).items()}
        described = catalogue.representations(ids)
        lines = {item_id: entry.fused.line for item_id, entry in described.items()}
        for name, fused in pictured(state).items():
            titles[name], lines[name] = name.capitalize(), fused.line
        return cls(all_there(titles, ids), lines)


def _items(state: State, told: _Told) -> tuple[RecommendedItem, ...]:
    reasons = {reason["item_id"]: reason for reason in state.reasons}
    return tuple(
        RecommendedItem(
            item_id=entry["item_id"],
            title=told.titles[entry["item_id"]],
            score=entry["score"],
            retrieval_rank=entry["retrieval_rank"],
            reason=reasons[entry["item_id"]]["reason"],
            evidence=tuple(reasons[entry["item_id"]]["evidence"]),
            sources=tuple(name for name, value in entry["sources"].items() if value),
            line=told.lines.get(entry["item_id"], ""),
        )
        for entry in state.candidates[: state.k]
    )


def _history(state: State, told: _Told) -> tuple[HistoryEntry, ...]:
    return tuple(
        HistoryEntry(
            item_id=event["item_id"],
            title=told.titles[event["item_id"]],
            line=told.lines.get(event["item_id"], ""),
            rating=event["rating"],
            timestamp=event["timestamp"],
        )
        for event in state.history
    )


def preference(state: State) -> str:
    """What the user wants lately, in words; never empty."""
    if not state.history:
        return "unknown: this user has no interactions to read a preference from"
    return last_preference(state).text


def profile(state: State) -> Profile:
    """What is stable in the user's taste."""
    return Profile(
        text=stated(state.profile).text,
        statements=tuple(
            Statement(
                facet=entry["value"],
                strength=entry["strength"],
                evidence=tuple(entry["item_ids"]),
            )
            for entry in state.profile
        ),
    )


def _windows(state: State) -> tuple[Window, ...]:
    def window(entry: PreferenceState) -> Window:
        preference = Preference.model_validate(entry["preference"])
        events = state.history[entry["start"] : entry["stop"]]
        return Window(
            item_ids=tuple(event["item_id"] for event in events),
            preference=preference.text,
            rising=tuple(preference.rising),
            fading=tuple(preference.fading),
            fallback=entry["fallback"],
        )

    return tuple(window(entry) for entry in state.windows)


def _fallbacks(state: State) -> int:
    return sum((*state.fallback_marks, *(entry["fallback"] for entry in state.reasons)))
