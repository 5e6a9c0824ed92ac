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
from contextlib import aclosing
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Self, TypeVar

from langgraph.graph.state import CompiledStateGraph

from mllm_srec.agent.assembly import recommendation
from mllm_srec.agent.chain import Request
from mllm_srec.agent.changes import Changes
from mllm_srec.agent.deadline import within
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.events import Begin, Event, Listener, Recommended, afollow, follow
from mllm_srec.agent.results import Recommendation
from mllm_srec.agent.state import Context, Part, Settings, State
from mllm_srec.agent.tracing.tracer import Run
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.together import together
from mllm_srec.tools.errors import WrongCall
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.items import MAX_COUNT

__all__ = ["Recommender", "Request"]

T = TypeVar("T")

CONCURRENT_USERS = 256
"""Users whose chains run side by side, so that their calls fill the engine's batches."""


class Recommender(Changes):
    """Recommendations for users of one home.

    ```python
    with Recommender.open("~/shop") as srec:
        result = srec.recommend("u17", k=5)
    ```
    """

    @classmethod
    def open(
        cls,
        home: Path | str,
        *,
        engine: str | Engine = "auto",
        model: Path | None = None,
        settings: Settings | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Self:
        """Open a home and load the model.

        Args:
            home: Its folder.
            engine: A kind of engine, or one that is loaded and stays the caller's.
            model: Folder of the model; srec-tiny by default.
            settings: How the chain works; the defaults are those that the model was trained for.
            say: Told what a person should know, such as which engine stands in for another.

        Raises:
            HomeError: The folder is not a home.
            ModelError: The model could not be loaded.
            IndexMismatch: The home's vectors were made by another model.
        """
        deployment = Deployment.open(home, engine=engine, model=model, settings=settings, say=say)
        try:
            return cls(deployment)
        except BaseException:
            deployment.close()
            raise

    @property
    def graph(self) -> CompiledStateGraph[State, Context, State, State]:
        """The compiled graph, for callers who run it themselves."""
        return self.chain.graph

    def recommend(
        self,
        user: str,
        k: int = 10,
        *,
        as_of: int | None = None,
        history: Sequence[str] | None = None,
        candidates: Collection[str] | None = None,
        conditions: ItemFilter | None = None,
        exclude: Collection[str] = (),
        picture: bytes | None = None,
        deadline_s: float | None = None,
    ) -> Recommendation:
        """Recommend k items to a user, with reasons.

        Args:
            user: Whom to recommend to; need not be in the log.
            k: Length of the list, up to 100.
            as_of: Only interactions before this position of the user's history count.
            history: Item ids in time order, all liked, in place of the stored history.
            candidates: Ids of the only items that may be recommended.
            conditions: What an item must be.
            exclude: Ids of items that are left out.
            picture: JPEG, PNG, WebP, GIF or BMP that counts as the latest like of `history`, or
                without one as the only like, in place of the stored history.
            deadline_s: Longest wait, in seconds; None waits as long as it takes.

        Raises:
            WrongCall: k is not 1 to 100, `deadline_s` is negative, or a history or candidates name
                an unknown item, or candidates none.
            CannotDo: No item meets the conditions.
            BadPicture: The picture is none that can be read.
            ItemGone: An item was deleted or changed meanwhile.
            DeadlineExceeded: It took longer; what the engine had answered is kept.
            EngineLost: The engine stopped answering, also when tried again; what it had
                answered is kept, so the same call goes on from there.
        """
        asked = Request.of(
            user,
            as_of=as_of,
            history=history,
            candidates=candidates,
            conditions=conditions,
            exclude=exclude,
            picture=picture,
        )
        return self.deployment.run(self.answer(asked, k, deadline_s))

    async def arecommend(
        self,
        user: str,
        k: int = 10,
        *,
        as_of: int | None = None,
        history: Sequence[str] | None = None,
        candidates: Collection[str] | None = None,
        conditions: ItemFilter | None = None,
        exclude: Collection[str] = (),
        picture: bytes | None = None,
        deadline_s: float | None = None,
    ) -> Recommendation:
        """`recommend` for asynchronous callers, from any loop; cancelling it stops the graph."""
        asked = Request.of(
            user,
            as_of=as_of,
            history=history,
            candidates=candidates,
            conditions=conditions,
            exclude=exclude,
            picture=picture,
        )
        return await self.deployment.arun(self.answer(asked, k, deadline_s))

    def recommend_many(
        self, requests: Iterable[Request | str], k: int = 10, *, deadline_s: float | None = None
    ) -> list[Recommendation]:
        """Recommend to many users at once, so that their calls fill the engine's batches.

        Args:
            requests: Whom to recommend to, by a user's id, or with what `Request` may say besides;
                the results come in their order.
            k: Length of each list, up to 100.
            deadline_s: Longest wait for all of them, in seconds.

        Raises:
            WrongCall: k is not 1 to 100, `deadline_s` is negative, or a history or candidates name
                an unknown item, or candidates none.
            CannotDo: No item meets the conditions of a request.
            ItemGone: An item was deleted or changed meanwhile.
            DeadlineExceeded: It took longer; what the engine had answered is kept.
            EngineLost: The engine stopped answering, also when tried again.
        """
        return self.deployment.run(self._all(requests, k, deadline_s))

    async def arecommend_many(
        self, requests: Iterable[Request | str], k: int = 10, *, deadline_s: float | None = None
    ) -> list[Recommendation]:
        """`recommend_many` for asynchronous callers, from any loop; cancelling it stops all."""
        return await self.deployment.arun(self._all(requests, k, deadline_s))

    def stream(
        self,
        user: str,
        k: int = 10,
        *,
        as_of: int | None = None,
        history: Sequence[str] | None = None,
        candidates: Collection[str] | None = None,
        conditions: ItemFilter | None = None,
        exclude: Collection[str] = (),
        picture: bytes | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[Event]:
        """`recommend`, told step by step; the last event is `Recommended`.

        Leaving the iteration early stops the graph.
        """
        asked = Request.of(
            user,
            as_of=as_of,
            history=history,
            candidates=candidates,
            conditions=conditions,
            exclude=exclude,
            picture=picture,
        )
        for event in follow(self._begin(asked, k, deadline_s)):
            yield Recommended(event) if isinstance(event, Recommendation) else event

    async def astream(
        self,
        user: str,
        k: int = 10,
        *,
        as_of: int | None = None,
        history: Sequence[str] | None = None,
        candidates: Collection[str] | None = None,
        conditions: ItemFilter | None = None,
        exclude: Collection[str] = (),
        picture: bytes | None = None,
        deadline_s: float | None = None,
    ) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers, from any loop."""
        asked = Request.of(
            user,
            as_of=as_of,
            history=history,
            candidates=candidates,
            conditions=conditions,
            exclude=exclude,
            picture=picture,
        )
        events = afollow(self._begin(asked, k, deadline_s))
        async with aclosing(events):
            async for event in events:
                yield Recommended(event) if isinstance(event, Recommendation) else event

    def without(self, part: Part) -> Self:
        """The same, with a part of the chain left out; for ablations."""
        now = self.context
        context = self.deployment.context_of(
            now.calls,
            now.tracer,
            settings=replace(now.settings, without=part),
            weights=now.weights,
            collaborative=now.collaborative(),
        )
        return type(self)(self.deployment, context)

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
            WrongCall: A given history names an item that is not in the catalogue.
            ItemGone: An item was deleted or changed meanwhile.
            EngineLost: The engine stopped answering, also when tried again.
        """

        async def rank(request: Request) -> State:
            state, run = await self.chain.run(request, k=0)
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

    async def _all(
        self, requests: Iterable[Request | str], k: int, deadline_s: float | None
    ) -> list[Recommendation]:
        _check_length(k)
        asked = [Request.of(each) if isinstance(each, str) else each for each in requests]
        return await within(deadline_s, self._many(asked, lambda one: self.answer(one, k)))

    async def answer(
        self,
        request: Request,
        k: int,
        deadline_s: float | None = None,
        tell: Listener | None = None,
    ) -> Recommendation:
        """Recommend k items, for callers on the deployment's own loop; else `arecommend`.

        Args:
            request: Whom to recommend to.
            k: Length of the list.
            deadline_s: Longest wait, in seconds; None waits as long as it takes.
            tell: Told of each step.

        Raises:
            As `recommend`.
        """
        _check_length(k)
        state, run = await within(deadline_s, self.chain.run(request, k, tell))
        return recommendation(self.deployment, self.context.weights, state, run)

    def _begin(self, request: Request, k: int, deadline_s: float | None) -> Begin[Recommendation]:
        return lambda tell: self.deployment.start(self.answer(request, k, deadline_s, tell))

    def close(self) -> None:
        """Close the engine and the home."""
        self.deployment.close()


def _check_length(k: int) -> None:
    if not isinstance(k, Integral) or not 1 <= k <= MAX_COUNT:
        raise WrongCall(f"k is {k!r}: ask for 1 to {MAX_COUNT} items, as a whole number")
