"""A finished run as a `Recommendation`: titles, lines and reasons put together."""

from collections.abc import Iterable
from typing import Any

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import pictured
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
from mllm_srec.agent.state import State
from mllm_srec.agent.tracing.tracer import Run
from mllm_srec.tools.ranking import CombineWeights

NOTES = {
    "unknown": "This user is not in the log: the list is what others choose.",
    "empty": "This user has no interactions yet: the list is what others choose.",
    "cold": "This user has only a few interactions: the profile is tentative.",
}


def recommendation(
    deployment: Deployment, weights: CombineWeights, state: State, run: Run
) -> Recommendation:
    """What a run found, as callers read it."""
    catalogue, floor = deployment.home.catalogue, deployment.noise_floor
    top = state.candidates[: state.k]
    shown = [entry["item_id"] for entry in top]
    held = [event["item_id"] for event in state.history]
    titles = {item_id: item.title for item_id, item in catalogue.items([*shown, *held]).items()}
    lines = {
        item_id: entry.fused.line
        for item_id, entry in catalogue.representations([*shown, *held]).items()
    }
    for name, fused in pictured(state).items():
        titles[name], lines[name] = name.capitalize(), fused.line
    reasons = {reason["item_id"]: reason for reason in state.reasons}
    return Recommendation(
        user=state.user_id,
        engine=deployment.info.engine,
        model=deployment.info.model,
        trace_id=run.trace_id,
        preference=_preference(state),
        profile=_profile(state),
        items=tuple(
            RecommendedItem(
                item_id=entry["item_id"],
                title=titles[entry["item_id"]],
                score=entry["score"],
                retrieval_rank=entry["retrieval_rank"],
                reason=reasons[entry["item_id"]]["reason"],
                evidence=tuple(reasons[entry["item_id"]]["evidence"]),
                sources=tuple(name for name, value in entry["sources"].items() if value),
                line=lines.get(entry["item_id"], ""),
            )
            for entry in top
        ),
        windows=_windows(state),
        history=tuple(
            HistoryEntry(
                item_id=event["item_id"],
                title=titles[event["item_id"]],
                line=lines.get(event["item_id"], ""),
                rating=event["rating"],
                timestamp=event["timestamp"],
            )
            for event in state.history
        ),
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


def _preference(state: State) -> str:
    if not state.history:
        return "unknown: this user has no interactions to read a preference from"
    return last_preference(state).text


def _profile(state: State) -> Profile:
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
    def window(entry: Any) -> Window:
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
    marks: Iterable[bool] = (
        *(entry["fallback"] for entry in state.windows),
        state.profile_fallback,
        *(entry["fallback"] for entry in state.reasons),
    )
    return sum(marks)
