"""`Recommender`: recommendations for the users of a home, one call away."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.graph import build_graph
from mllm_srec.agent.nodes.load_user import events
from mllm_srec.agent.nodes.profile_user import profile_text
from mllm_srec.agent.nodes.score_targets import preference_text
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.results import (
    HistoryEntry,
    Profile,
    Recommendation,
    RecommendedItem,
    Statement,
    Window,
)
from mllm_srec.agent.state import Context, State
from mllm_srec.agent.tracing import Run
from mllm_srec.store.records import Interaction

CONCURRENT_USERS = 64
"""Users whose chains run side by side, so that their calls fill the engine's batches."""
NOTES = {
    "unknown": "This user is not in the log: the list is what others choose.",
    "empty": "This user has no interactions yet: the list is what others choose.",
    "cold": "This user has only a few interactions: the profile is tentative.",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One ranking to make."""

    user_id: str
    as_of: int | None = None
    """Only interactions before this position count."""
    history: tuple[Interaction, ...] | None = None
    """A history in place of the stored one, in time order."""
    allowed: tuple[str, ...] | None = None
    """Items that may be recommended; None allows the whole catalogue."""
    now: int | None = None
    """Time of the request, seconds since 1970 UTC; by default the newest time of the log."""


class Recommender:
    """Recommendations for users of one home.

    ```python
    with Recommender.open("~/shop") as srec:
        result = srec.recommend("u17", k=5)
    ```
    """

    def __init__(self, deployment: Deployment, context: Context | None = None) -> None:
        self.deployment = deployment
        self.context = context or deployment.context()
        self.graph: CompiledStateGraph[State, Context, State, State] = build_graph().compile()
        newest = deployment.home.catalogue.interactions_frame()["timestamp"].max()
        self._now = int(newest) if isinstance(newest, int) else None

    @classmethod
    def open(
        cls, home: Path | str, *, engine: str = "auto", model: Path | None = None, **options: Any
    ) -> Self:
        """Open a home and load the model.

        Raises:
            HomeError: The folder is not a home.
            ModelError: The model could not be loaded.
            IndexMismatch: The home's vectors were made by another model.
        """
        deployment = Deployment.open(home, engine=engine, model=model, **options)
        try:
            return cls(deployment)
        except BaseException:
            deployment.close()
            raise

    def recommend(self, user: str, k: int = 10, *, as_of: int | None = None) -> Recommendation:
        """Recommend k items to a user, with reasons.

        Raises:
            EngineLost: The engine stopped answering, also when tried again; what it had
                answered is kept, so the same call goes on from there.
        """
        if k < 1:
            raise ValueError(f"k is {k!r}: ask for at least one item")
        return self.deployment.run(self._recommend(Request(user, as_of), k))

    def rank_many(self, requests: Sequence[Request]) -> list[State]:
        """Rank the candidates of many users, without reasons, in the order of the requests."""
        return self.deployment.run(self._rank_many(requests))

    async def _rank_many(self, requests: Sequence[Request]) -> list[State]:
        gate = asyncio.Semaphore(CONCURRENT_USERS)

        async def rank(request: Request) -> State:
            async with gate:
                state, _ = await self._run(request, k=0)
                return state

        return list(await asyncio.gather(*(rank(request) for request in requests)))

    async def _recommend(self, request: Request, k: int) -> Recommendation:
        state, run = await self._run(request, k)
        return self._result(state, run)

    async def _run(self, request: Request, k: int) -> tuple[State, Run]:
        given = request.history
        state = State(
            user_id=request.user_id,
            k=k,
            as_of=request.as_of,
            given_history=None if given is None else events(given, self.deployment.settings),
            allowed=None if request.allowed is None else list(request.allowed),
            now=self._now if request.now is None else request.now,
        )
        config: RunnableConfig = {"recursion_limit": 10_000}
        with self.deployment.tracer.run(
            "recommend",
            user=request.user_id,
            inputs={"user": request.user_id, "k": k, "as_of": request.as_of, "now": state.now},
            engine=self.deployment.info,
        ) as run:
            # Who has LangSmith on for other work has not agreed to send users' histories there.
            with tracing_context(enabled=False):
                final = await self.graph.ainvoke(state, config, context=self.context)
            run.output({"items": [entry["item_id"] for entry in final["candidates"][:k]]})
        return State(**final), run

    def _result(self, state: State, run: Run) -> Recommendation:
        catalogue = self.deployment.home.catalogue
        top = state.candidates[: state.k]
        shown = [entry["item_id"] for entry in top]
        held = [event["item_id"] for event in state.history]
        items = catalogue.items([*shown, *held])
        lines = {
            item_id: entry.fused.line
            for item_id, entry in catalogue.representations([*shown, *held]).items()
        }
        reasons = {reason["item_id"]: reason for reason in state.reasons}
        ratings = {entry.item_id: entry.rating for entry in catalogue.history(state.user_id)}
        return Recommendation(
            user=state.user_id,
            engine=self.deployment.info.engine,
            model=self.deployment.info.model,
            trace_id=run.trace_id,
            preference=_preference(state),
            profile=_profile(state),
            items=tuple(
                RecommendedItem(
                    item_id=entry["item_id"],
                    title=items[entry["item_id"]].title,
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
                    title=items[event["item_id"]].title,
                    line=lines.get(event["item_id"], ""),
                    rating=ratings.get(event["item_id"]),
                    timestamp=event["timestamp"],
                )
                for event in state.history
            ),
            fallbacks=_fallbacks(state),
            seconds={"total": run.total_seconds, **run.seconds},
            engine_seconds=run.engine_seconds,
            tokens=dict(run.tokens),
            path=tuple(run.path),
            notes=tuple(
                note
                for note in (NOTES.get(state.path), self.deployment.tracer.problem)
                if note is not None
            ),
        )

    def close(self) -> None:
        """Close the engine and the home."""
        self.deployment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _preference(state: State) -> str:
    if not state.history:
        return "unknown: this user has no interactions to read a preference from"
    return preference_text(state)


def _profile(state: State) -> Profile:
    return Profile(
        text=profile_text(state.profile),
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
