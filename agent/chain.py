"""The recommendation graph at work: one request in, the finished state and its run out."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.events import Listener, Ranked, tell_of_node
from mllm_srec.agent.graph import build_graph
from mllm_srec.agent.nodes.load_user import events
from mllm_srec.agent.nodes.retrieve_candidates import retrieve_candidates
from mllm_srec.agent.state import YOUR_PICTURE, Context, State
from mllm_srec.agent.tracing.attributes import LIST, as_json
from mllm_srec.agent.tracing.tracer import Run, current_step
from mllm_srec.agent.untrusted import sound
from mllm_srec.store.home import Home
from mllm_srec.store.records import MAX_ID, Interaction
from mllm_srec.tools.errors import WrongCall
from mllm_srec.tools.feedback import Wish, ruled_out, unless_ruled_out, wishes
from mllm_srec.tools.filters import ItemFilter, allowed_items


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
    picture: bytes | None = None
    """A picture that is the latest like of the given history; without one it is all of it."""

    @classmethod
    def of(
        cls,
        user: str,
        *,
        as_of: int | None = None,
        history: Sequence[str] | None = None,
        candidates: Collection[str] | None = None,
        conditions: ItemFilter | None = None,
        exclude: Collection[str] = (),
        picture: bytes | None = None,
    ) -> "Request":
        """A request in the words of a caller.

        Args:
            user: Whom to recommend to.
            as_of: Only interactions before this position count.
            history: Item ids in time order, all liked, in place of the stored history.
            candidates: Ids of the only items that may be recommended.
            conditions: What an item must be.
            exclude: Ids of items that are left out.
            picture: JPEG, PNG, WebP, GIF or BMP that counts as the latest like of `history`, or
                without one as the only like, in place of the stored history.

        Raises:
            WrongCall: The user can be none, an id is no text, the picture are no bytes, a text
                stands where a list of ids belongs, no candidate is named, or `as_of` is no position
                of the stored history.
        """
        check_user(user)
        if picture is not None and not isinstance(picture, bytes):
            raise WrongCall(f"the picture is {picture!r}: give the bytes of its file")
        liked, allowed = _ids("history", history), _ids("candidates", candidates)
        if allowed == ():
            raise WrongCall("candidates names no item: name some, or leave it out for all items")
        if as_of is not None and not (isinstance(as_of, Integral) and as_of >= 0):
            raise WrongCall(f"as_of is {as_of!r}: the positions of a history begin at 0")
        if as_of is not None and not (history is None and picture is None):
            raise WrongCall(
                f"as_of is {as_of!r}, a position of the stored history: give it, or a history"
            )
        given = (
            None
            if liked is None
            else tuple(
                Interaction(user_id=user, item_id=item_id, position=position)
                for position, item_id in enumerate(liked)
            )
        )
        left_out = ItemFilter(exclude=_ids("exclude", exclude) or ())
        return cls(
            user,
            as_of=as_of,
            history=given,
            picture=picture,
            allowed=allowed,
            conditions=(conditions or ItemFilter()) & left_out,
        )


def check_user(user: str) -> None:
    """Refuse what cannot be a user's id.

    Raises:
        WrongCall: It is no text, empty, too long, or has halves of characters.
    """
    if not user or not isinstance(user, str):
        raise WrongCall(f"the user is {user!r}: give an id, as a text")
    if len(user) > MAX_ID:
        raise WrongCall(
            f"the user is {user[:40]!r}... of {len(user)} characters: an id has up to {MAX_ID}"
        )
    if sound(user) != user:
        raise WrongCall(f"the user is {user!r}, which has halves of characters: give it in UTF-8")


def _ids(name: str, given: Iterable[str] | None) -> tuple[str, ...] | None:
    """Ids as they were given, read once: an iterator would be empty the second time.

    Raises:
        WrongCall: A text stands in the place of a list, whose characters would pass for ids, or
            one of them is no text.
    """
    if isinstance(given, str):
        raise WrongCall(f"{name} is the text {given!r}: give a list of ids")
    ids = None if given is None else tuple(given)
    for each in ids or ():
        if not isinstance(each, str):
            raise WrongCall(f"{name} holds {each!r}: give ids, as texts")
    return ids


class Chain:
    """The compiled graph over a deployment, run for one request at a time or for many at once."""

    def __init__(self, deployment: Deployment, context: Context) -> None:
        self._deployment = deployment
        self.context = context
        # Without a checkpointer, also inside a conversation that has one: its steps are cached.
        self.graph: CompiledStateGraph[State, Context, State, State] = build_graph().compile(
            checkpointer=False
        )
        self._now = deployment.home.catalogue.newest_timestamp()

    async def run(
        self, request: Request, k: int, tell: Listener | None = None
    ) -> tuple[State, Run]:
        """Run the graph for a request; k = 0 ranks the candidates and explains none.

        Raises:
            WrongCall: A given history or list of candidates names an item that is not in the
                catalogue.
            CannotDo: No item meets the conditions.
            BadPicture: The given picture is none that can be read.
            EngineLost: The engine stopped answering, also when tried again.
        """
        given = request.history
        if given is not None:
            self._check_items([entry.item_id for entry in given], "the history")
        if request.allowed is not None:
            self._check_items(request.allowed, "the list of candidates")
        kept = None
        if request.picture is not None:
            add = self._deployment.home.pictures.add
            kept = await asyncio.to_thread(add, request.picture, giver=request.user_id)
            given = _with_picture(given or (), request.user_id)
        never, wished = self._said(request)
        # With conditions the whole catalogue is read: other requests go on meanwhile.
        conditions = unless_ruled_out(request.conditions, never)
        ids = await asyncio.to_thread(allowed, self._deployment.home, conditions, request.allowed)
        state = State(
            user_id=request.user_id,
            k=k,
            as_of=request.as_of,
            given_history=None if given is None else events(given, self._deployment.settings),
            picture=kept,
            allowed=ids,
            wishes=wished,
            now=self._now if request.now is None else request.now,
        )
        return await self._run(request, never, state, tell)

    async def profile(self, user: str, tell: Listener | None = None) -> State:
        """Run the graph for a user as far as the profile: nothing is retrieved or scored.

        Raises:
            EngineLost: The engine stopped answering, also when tried again.
        """
        asked, state = Request(user), State(user_id=user, k=0, now=self._now)
        before = retrieve_candidates.__name__
        final, _ = await self._run(asked, ItemFilter(), state, tell, before=before)
        return final

    async def _run(
        self,
        request: Request,
        never: ItemFilter,
        state: State,
        tell: Listener | None,
        *,
        before: str | None = None,
    ) -> tuple[State, Run]:
        with self._traced(request, never, state, before) as run:
            # Who has LangSmith on for other work has not agreed to send users' histories there.
            with tracing_context(enabled=False):
                final = await self._steps(state, tell, before)
            if current_step() is run:
                top = final["candidates"][: state.k]
                run.output({"items": [entry["item_id"] for entry in top]})
        return State(**final), run

    async def _steps(
        self, state: State, tell: Listener | None, before: str | None
    ) -> dict[str, Any]:
        """Run the graph to its end, or up to a node, apart from a LangGraph run around it.

        As a subgraph of a conversation it would write its state into the thread after every node
        and every window. That state holds the whole history and, where there are conditions, the
        ids of all items that meet them: up to the whole catalogue, against a thread that is to stay
        small. What is worth keeping of a finished node are the model's answers, and the home's step
        cache has them by content: a turn that was cut off comes through its finished nodes again
        without asking the model.
        """
        around, apart = copy_context(), copy_context()
        apart.run(var_child_runnable_config.set, None)
        # Who listens may be a part of the run around it: LangGraph's writer asks where it is.
        told = None if tell is None else lambda event: around.run(tell, event)
        return await asyncio.create_task(self._drive(state, told, before), context=apart)

    async def _drive(
        self, state: State, tell: Listener | None, before: str | None
    ) -> dict[str, Any]:
        config: RunnableConfig = {"recursion_limit": 10_000}
        ends = None if before is None else [before]
        if tell is None:
            return await self.graph.ainvoke(
                state, config, context=self.context, interrupt_before=ends
            )
        final: dict[str, Any] = {}
        started: dict[str, float] = {}
        parts: AsyncIterator[Any] = self.graph.astream(
            state,
            config,
            context=self.context,
            stream_mode=["tasks", "values"],
            interrupt_before=ends,
        )
        async for mode, chunk in parts:
            if mode == "values":
                final = dict(chunk)
            else:
                tell_of_node(tell, chunk, started)
                if chunk["name"] == "explain" and "input" in chunk:
                    top = final["candidates"][: state.k]
                    tell(Ranked(tuple(entry["item_id"] for entry in top)))
        return final

    def _traced(
        self, request: Request, never: ItemFilter, state: State, before: str | None
    ) -> AbstractContextManager[Run]:
        """A run of its own; inside a turn or a tool call, a part of that run."""
        # Not the ids of all items that are allowed: what they followed from, which `allowed` reads.
        beside = {
            "wishes": state.wishes or None,
            "filter": (request.conditions & never).model_dump(exclude_defaults=True) or None,
            "only": request.allowed,
            "given_history": state.given_history,
            "picture": state.picture,
            "before": before,
        }
        asked = {
            "user": request.user_id,
            "k": state.k,
            "as_of": request.as_of,
            "now": state.now,
            "conditions": request.conditions.text,
            **{name: value for name, value in beside.items() if value is not None},
        }
        if step := current_step():
            step.event(LIST, request=as_json(asked))
            return nullcontext(step.run)
        return self.context.run("recommend", user=request.user_id, inputs=asked)

    def _said(self, request: Request) -> tuple[ItemFilter, list[Wish]]:
        """What the user ruled out and wishes for now; nothing for a past or a given history."""
        given = request.history is not None or request.picture is not None
        if request.as_of is not None or given:
            return ItemFilter(), []
        home = self._deployment.home
        said = home.feedback.of(request.user_id)
        return ruled_out(said), wishes(home, said)

    def _check_items(self, item_ids: Sequence[str], where: str) -> None:
        unknown = set(item_ids) - set(self._deployment.home.catalogue.items(item_ids))
        if unknown:
            raise WrongCall(
                f"{where} names {min(unknown)!r}, which is not in the catalogue: "
                "ingest the item first, or leave it out"
            )


def _with_picture(history: Sequence[Interaction], user: str) -> tuple[Interaction, ...]:
    """A given history with the caller's picture as its latest like."""
    position = history[-1].position + 1 if history else 0
    return *history, Interaction(user_id=user, item_id=YOUR_PICTURE, position=position)


def allowed(home: Home, conditions: ItemFilter, only: Collection[str] | None) -> list[str] | None:
    """Ids of the items that a request may be answered with; None for the whole catalogue.

    Args:
        home: The shop.
        conditions: What an item must be.
        only: Ids of the only items that may be recommended; None for all.

    Raises:
        CannotDo: No item meets the conditions.
    """
    meeting = allowed_items(home, conditions)
    if only is None:
        return None if meeting is None else sorted(meeting)
    return [each for each in only if meeting is None or each in meeting]
