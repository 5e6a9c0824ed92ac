"""`Recommender`: recommendations for the users of a home, one call away."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context

from mllm_srec.agent.assembly import recommendation
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.events import Event, Listener, Recommended, tell_of_node
from mllm_srec.agent.graph import build_graph
from mllm_srec.agent.nodes.fuse_items import fuse
from mllm_srec.agent.nodes.load_user import events
from mllm_srec.agent.results import Recommendation
from mllm_srec.agent.state import Context, State
from mllm_srec.agent.tracing import Run, current_step
from mllm_srec.llm.engine import ModelError
from mllm_srec.store.feedback import Feedback, Stance
from mllm_srec.store.records import Interaction, Item
from mllm_srec.tools import feedback as tools
from mllm_srec.tools.feedback import Wish
from mllm_srec.tools.filters import ItemFilter, allowed_items

T = TypeVar("T")

CONCURRENT_USERS = 64
"""Users whose chains run side by side, so that their calls fill the engine's batches."""


class DeadlineExceeded(ModelError):
    """The answer took longer than the caller would wait; the same call goes on from there."""


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
    conditions: ItemFilter = field(default_factory=ItemFilter)
    """What an item must be, besides."""
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
        # Without a checkpointer, also inside a conversation that has one: its steps are cached.
        self.graph: CompiledStateGraph[State, Context, State, State] = build_graph().compile(
            checkpointer=False
        )
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

    def recommend(
        self, user: str, k: int = 10, *, deadline_s: float | None = None, **given: Any
    ) -> Recommendation:
        """Recommend k items to a user, with reasons.

        Args:
            user: Whom to recommend to; need not be in the log.
            k: Length of the list.
            deadline_s: Longest wait; None waits as long as it takes.
            **given: What `request` takes: `as_of`, `history`, `candidates`, `conditions`,
                `exclude`.

        Raises:
            ValueError: k is not positive, or a given history names an unknown item.
            CannotDo: No item meets the conditions.
            DeadlineExceeded: It took longer; what the engine had answered is kept.
            EngineLost: The engine stopped answering, also when tried again; what it had
                answered is kept, so the same call goes on from there.
        """
        return self.deployment.run(self._within(deadline_s, self._one(user, k, given)))

    async def arecommend(
        self, user: str, k: int = 10, *, deadline_s: float | None = None, **given: Any
    ) -> Recommendation:
        """`recommend` for asynchronous callers, from any loop; cancelling it stops the graph."""
        work = self._within(deadline_s, self._one(user, k, given))
        return await asyncio.wrap_future(self.deployment.start(work))

    def recommend_many(self, requests: Iterable[Request], k: int = 10) -> list[Recommendation]:
        """Recommend to many users at once, so that their calls fill the engine's batches.

        Raises:
            ValueError: k is not positive, or a given history names an unknown item.
            CannotDo: No item meets the conditions of a request.
            EngineLost: The engine stopped answering, also when tried again.
        """
        _check_length(k)
        return self.deployment.run(self._many(requests, lambda one: self._recommend(one, k)))

    def stream(self, user: str, k: int = 10, **given: Any) -> Iterator[Event]:
        """`recommend`, told step by step; the last event is `Recommended`.

        Leaving the iteration early stops the graph.
        """
        events: SimpleQueue[Event | None] = SimpleQueue()
        work = self.deployment.start(self._one(user, k, given, events.put))
        work.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
            yield Recommended(work.result())
        finally:
            work.cancel()

    async def astream(self, user: str, k: int = 10, **given: Any) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers, from any loop."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        def tell(event: Event | None) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        work = self.deployment.start(self._one(user, k, given, tell))
        work.add_done_callback(lambda _: tell(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield Recommended(work.result())
        finally:
            work.cancel()

    def feedback(
        self, user: str, stance: Stance, words: str, *, origin: str = "Python"
    ) -> Feedback:
        """Keep that a user wants more, less or nothing of a value: see `tools.feedback`.

        Raises:
            CannotDo: No item of the shop has such a value.
        """
        return tools.give_feedback(self.deployment.home, user, stance, words, origin=origin)

    def feedback_of(self, user: str) -> list[Feedback]:
        """The wishes of a user that count, each with where it was said; oldest first."""
        return tools.feedback_of(self.deployment.home, user)

    def undo_feedback(self, user: str, feedback_id: int | None = None) -> Feedback:
        """Take a wish back, the last one by default.

        Raises:
            CannotDo: There is nothing to take back.
        """
        return tools.undo_feedback(self.deployment.home, user, feedback_id)

    def put_items(self, items: Sequence[Item]) -> None:
        """Add or change items, and describe them at once, so that they can be recommended.

        Raises:
            HomeBusy: Another process writes to the home.
        """
        home = self.deployment.home
        with home.lock():
            home.catalogue.put_items(items)
            with self.deployment.tracer.run("put_items", inputs={"items": len(items)}):
                self.deployment.run(fuse(self.context, items))
        self._renew()

    def delete_item(self, item_id: str) -> bool:
        """Delete an item with its interactions, description and vector; False if unknown.

        Raises:
            HomeBusy: Another process writes to the home.
        """
        deleted = self.deployment.home.delete_item(item_id)
        self._renew()
        return deleted

    def _renew(self) -> None:
        """Know the catalogue as it is now."""
        collaborative = self.deployment.collaborative().tuned(self.context.weights.collaborative)
        self.context = replace(self.context, collaborative=collaborative)

    def request(
        self,
        user: str,
        *,
        as_of: int | None = None,
        history: Sequence[str] | None = None,
        candidates: Collection[str] | None = None,
        conditions: ItemFilter | None = None,
        exclude: Collection[str] = (),
    ) -> Request:
        """A request in the words of a caller.

        Args:
            user: Whom to recommend to.
            as_of: Only interactions before this position count.
            history: Item ids in time order, all liked, in place of the stored history.
            candidates: Ids of the only items that may be recommended.
            conditions: What an item must be.
            exclude: Ids of items that are left out.
        """
        given = (
            None
            if history is None
            else tuple(
                Interaction(user_id=user, item_id=item_id, position=position)
                for position, item_id in enumerate(history)
            )
        )
        left_out = ItemFilter(exclude=tuple(exclude))
        return Request(
            user,
            as_of=as_of,
            history=given,
            allowed=None if candidates is None else tuple(candidates),
            conditions=(conditions or ItemFilter()) & left_out,
        )

    def rank_many(
        self,
        requests: Sequence[Request],
        ranked: Callable[[Request, Run], None] = lambda request, run: None,
    ) -> list[State]:
        """Rank the candidates of many users, without reasons, in the order of the requests.

        Args:
            requests: Whom to rank for.
            ranked: Called when a request is done, with what its run took.

        Raises:
            ValueError: A given history names an item that is not in the catalogue.
            EngineLost: The engine stopped answering, also when tried again.
        """

        async def rank(request: Request) -> State:
            state, run = await self._run(request, k=0)
            ranked(request, run)
            return state

        return self.deployment.run(self._many(requests, rank))

    async def _many(
        self, requests: Iterable[Request], work: Callable[[Request], Coroutine[Any, Any, T]]
    ) -> list[T]:
        gate = asyncio.Semaphore(CONCURRENT_USERS)

        async def one(request: Request) -> T:
            async with gate:
                return await work(request)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(request)) for request in requests]
        except BaseExceptionGroup as failed:
            # The others were stopped; what went wrong is the first one's error.
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _within(self, deadline_s: float | None, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(deadline_s):
                return await work
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer within {deadline_s} s: ask again, what was done is kept"
            ) from error

    async def _one(
        self, user: str, k: int, given: dict[str, Any], tell: Listener | None = None
    ) -> Recommendation:
        _check_length(k)
        return await self._recommend(self.request(user, **given), k, tell)

    async def _recommend(
        self, request: Request, k: int, tell: Listener | None = None
    ) -> Recommendation:
        state, run = await self._run(request, k, tell)
        return recommendation(self.deployment, state, run)

    async def _run(
        self, request: Request, k: int, tell: Listener | None = None
    ) -> tuple[State, Run]:
        given = request.history
        if given is not None:
            self._check_items([entry.item_id for entry in given])
        never, wishes = self._said(request)
        state = State(
            user_id=request.user_id,
            k=k,
            as_of=request.as_of,
            given_history=None if given is None else events(given, self.deployment.settings),
            allowed=self._allowed(request, never),
            wishes=wishes,
            now=self._now if request.now is None else request.now,
        )
        with self._traced(request, k, state) as run:
            # Who has LangSmith on for other work has not agreed to send users' histories there.
            with tracing_context(enabled=False):
                final = await self._steps(state, tell)
            if current_step() is run:
                run.output({"items": [entry["item_id"] for entry in final["candidates"][:k]]})
        return State(**final), run

    async def _steps(self, state: State, tell: Listener | None) -> dict[str, Any]:
        """Run the graph to its end, apart from a LangGraph run that may be around it.

        Such a run would pass its checkpointing on, which this graph has no use for: what the model
        answered is cached.
        """
        apart = copy_context()
        apart.run(var_child_runnable_config.set, None)
        return await asyncio.create_task(self._drive(state, tell), context=apart)

    async def _drive(self, state: State, tell: Listener | None) -> dict[str, Any]:
        config: RunnableConfig = {"recursion_limit": 10_000}
        if tell is None:
            return await self.graph.ainvoke(state, config, context=self.context)
        final: dict[str, Any] = {}
        started: dict[str, float] = {}
        parts: AsyncIterator[Any] = self.graph.astream(
            state, config, context=self.context, stream_mode=["tasks", "values"]
        )
        async for mode, chunk in parts:
            if mode == "values":
                final = dict(chunk)
            else:
                tell_of_node(tell, chunk, started)
        return final

    def _traced(self, request: Request, k: int, state: State) -> AbstractContextManager[Run]:
        """A run of its own; inside a turn of a conversation, a part of that turn's."""
        step = current_step()
        if step is not None:
            return nullcontext(step.run)
        return self.deployment.tracer.run(
            "recommend",
            user=request.user_id,
            inputs={
                "user": request.user_id,
                "k": k,
                "as_of": request.as_of,
                "now": state.now,
                "conditions": request.conditions.text,
            },
            engine=self.deployment.info,
        )

    def _said(self, request: Request) -> tuple[ItemFilter, list[Wish]]:
        """What the user ruled out and wishes for now; nothing for a past or a given history."""
        if request.as_of is not None or request.history is not None:
            return ItemFilter(), []
        home = self.deployment.home
        said = home.feedback.of(request.user_id)
        return tools.ruled_out(said), tools.wishes(home, said)

    def _allowed(self, request: Request, never: ItemFilter) -> list[str] | None:
        meeting = allowed_items(self.deployment.home, request.conditions & never)
        if request.allowed is None:
            return None if meeting is None else sorted(meeting)
        return [each for each in request.allowed if meeting is None or each in meeting]

    def _check_items(self, item_ids: Sequence[str]) -> None:
        unknown = set(item_ids) - set(self.deployment.home.catalogue.items(item_ids))
        if unknown:
            raise ValueError(
                f"the history names {min(unknown)!r}, which is not in the catalogue: "
                "ingest the item first, or leave it out"
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


def _check_length(k: int) -> None:
    if k < 1:
        raise ValueError(f"k is {k!r}: ask for at least one item")
