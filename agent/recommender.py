"""`Recommender`: recommendations for the users of a home, one call away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from langgraph.graph.state import CompiledStateGraph

from mllm_srec.agent.assembly import recommendation
from mllm_srec.agent.chain import Chain, Request
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.events import Begin, Event, Listener, Recommended, afollow, follow
from mllm_srec.agent.nodes.fuse_items import fuse
from mllm_srec.agent.results import Recommendation
from mllm_srec.agent.state import Context, Part, State
from mllm_srec.agent.tracing.tracer import Run
from mllm_srec.llm.engine import Engine, ModelError
from mllm_srec.llm.together import together
from mllm_srec.store.closing import Closing
from mllm_srec.store.feedback import Feedback, Stance
from mllm_srec.store.records import Item
from mllm_srec.tools import feedback as tools

__all__ = ["DeadlineExceeded", "Recommender", "Request"]

T = TypeVar("T")

CONCURRENT_USERS = 64
"""Users whose chains run side by side, so that their calls fill the engine's batches."""


class DeadlineExceeded(ModelError):
    """The answer took longer than the caller would wait; the same call goes on from there."""


class Recommender(Closing):
    """Recommendations for users of one home.

    ```python
    with Recommender.open("~/shop") as srec:
        result = srec.recommend("u17", k=5)
    ```
    """

    def __init__(self, deployment: Deployment, context: Context | None = None) -> None:
        self.deployment = deployment
        self._chain = Chain(deployment, context or deployment.context())

    @property
    def context(self) -> Context:
        """What the nodes depend on."""
        return self._chain.context

    @property
    def graph(self) -> CompiledStateGraph[State, Context, State, State]:
        """The compiled graph, for callers who run it themselves."""
        return self._chain.graph

    @classmethod
    def open(
        cls,
        home: Path | str,
        *,
        engine: str | Engine = "auto",
        model: Path | None = None,
        **options: Any,
    ) -> Self:
        """Open a home and load the model.

        Args:
            home: Its folder.
            engine: A kind of engine, or one that is loaded and stays the caller's.
            model: Folder of the model; srec-tiny by default.
            **options: What `Deployment` takes besides: `settings`, `say`.

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
            **given: What `Request.of` takes: `as_of`, `history`, `candidates`, `conditions`,
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
        for event in follow(self._begin(user, k, given)):
            yield Recommended(event) if isinstance(event, Recommendation) else event

    async def astream(self, user: str, k: int = 10, **given: Any) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers, from any loop."""
        events = afollow(self._begin(user, k, given))
        async with aclosing(events):
            async for event in events:
                yield Recommended(event) if isinstance(event, Recommendation) else event

    def _begin(self, user: str, k: int, given: dict[str, Any]) -> Begin[Recommendation]:
        return lambda tell: self.deployment.start(self._one(user, k, given, tell))

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

    def delete_user(self, user: str) -> int:
        """Delete everything that is kept of a user; the number of interactions deleted.

        Raises:
            HomeBusy: Another process writes to the home.
        """
        deleted = self.deployment.home.delete_user(user)
        self._renew()
        return deleted

    def without(self, part: Part) -> Self:
        """The same, with a part of the chain left out; for ablations."""
        now = self.context
        context = self.deployment.context_of(
            now.calls,
            now.tracer,
            settings=replace(now.settings, without=part),
            weights=now.weights,
            collaborative=now.collaborative,
        )
        return type(self)(self.deployment, context)

    def _renew(self) -> None:
        """Know the catalogue and the log as they are now."""
        now = self.context
        context = self.deployment.context_of(
            now.calls, now.tracer, settings=now.settings, weights=now.weights
        )
        self._chain = Chain(self.deployment, context)

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
            state, run = await self._chain.run(request, k=0)
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

        return await together(one(request) for request in requests)

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
        return await self._recommend(Request.of(user, **given), k, tell)

    async def _recommend(
        self, request: Request, k: int, tell: Listener | None = None
    ) -> Recommendation:
        state, run = await self._chain.run(request, k, tell)
        return recommendation(self.deployment, state, run)

    def close(self) -> None:
        """Close the engine and the home."""
        self.deployment.close()


def _check_length(k: int) -> None:
    if k < 1:
        raise ValueError(f"k is {k!r}: ask for at least one item")
