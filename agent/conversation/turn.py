"""One turn at work: its state, its tools, and the items and conditions that its words mean."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import median

from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.places import Place, place, points_back
from mllm_srec.agent.conversation.results import turn_item
from mllm_srec.agent.conversation.shown import shown_card
from mllm_srec.agent.conversation.spoken_numbers import numbers
from mllm_srec.agent.conversation.state import (
    UNDOABLE,
    Done,
    Outcome,
    Shown,
    TurnContext,
    TurnState,
    TurnUpdate,
)
from mllm_srec.agent.conversation.writing import answer_text
from mllm_srec.agent.events import Event, Listener, PartialAnswer, Ranked
from mllm_srec.agent.recommend_tool import GraphRecommend
from mllm_srec.store.home import Home
from mllm_srec.tools.errors import ToolError, WrongCall
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.items import cards, find_item
from mllm_srec.tools.recommend import MAX_LIST
from mllm_srec.tools.values import Vocabulary, value_of

CENT = 0.01
"""How far below the price in the middle of a list `cheaper` begins, and above it `dearer`."""
BEYOND = range(MAX_LIST + 1, 1_000_000_000)
"""Numbers that are the place of no list."""


class AskBack(Exception):
    """One short question is needed before the action can be done."""

    def __init__(self, question: str, asked: Understood | None = None) -> None:
        """Take what is asked, and the turn that the answer completes; else it is the turn."""
        super().__init__(question)
        self.asked = asked


@dataclass(frozen=True)
class Turn:
    """What an action works with; every tool is bound to the user of the thread."""

    state: TurnState
    understood: Understood
    context: TurnContext
    tell: Listener
    """Told of what happens on the way; whoever streams the turn hears it."""

    @property
    def home(self) -> Home:
        """The shop."""
        return self.context.srec.deployment.home

    @property
    def user_id(self) -> str:
        """Whose conversation it is."""
        return self.state.user_id

    @property
    def origin(self) -> str:
        """Where a wish of this turn was said."""
        return f"chat {self.state.thread_id}, turn {self.state.turn}"

    def key(self, subject: str) -> str:
        """Under which a wish is kept once, also when the turn is worked on again."""
        return f"{self.state.thread_id}/{self.state.turn}/{subject}"

    async def vocabulary(self) -> Vocabulary:
        """The values of the shop, read once a turn."""
        # That reads the whole catalogue: other conversations go on meanwhile.
        return await asyncio.to_thread(lambda: self._vocabulary)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.home)

    def recommender(self) -> GraphRecommend:
        """The recommendation graph as a tool."""
        return GraphRecommend(self.context.srec, self.tell)

    def lister(self, listed: Callable[[Iterable[Shown]], TurnUpdate]) -> GraphRecommend:
        """The same for a list: told as an answer once it is ranked, before it has reasons."""

        def tell(event: Event) -> None:
            self.tell(event)
            if isinstance(event, Ranked):
                self.so_far(listed(map(shown_card, cards(self.home, event.item_ids))))

        return GraphRecommend(self.context.srec, tell)

    def so_far(self, update: TurnUpdate) -> None:
        """Keep what is done already, and tell its outcome; every word of it comes from a tool."""
        now: TurnUpdate = {"understood": self.state.understood, "asked": None, **update}
        self.context.so_far.update(now)
        self.tell(partial_answer(update["outcome"]))

    @property
    def shown_ids(self) -> list[str]:
        """Ids of the list on the screen."""
        return [each["item_id"] for each in self.state.shown]

    async def item(self, words: str, *, question: str) -> str:
        """The id of the item that some words mean.

        Raises:
            AskBack: Nothing was named, and nothing was spoken of; or the words name a place that
                several items have, as `the middle one` of four.
            WrongCall: The list has no such place, or the words fit several items.
            CannotDo: No item is called so.
        """
        shown = self.shown_ids
        if points_back(words):
            if self.state.focus:
                return self.state.focus
            if len(shown) == 1:
                return shown[0]
            raise AskBack(question)
        if words[:1] == "[" and self.home.catalogue.item(words[1:-1]) is not None:
            return words[1:-1]
        where = place(words)
        if where is None:
            return await self._called(words)
        if (found := self._at(words, where)) is not None:
            return found
        # A title, or a part of one that is no place of any list: `825` of `Tango (825)`.
        with suppress(ToolError):
            found = await self._called(words)
            title = self.home.catalogue.items([found])[found].title
            if where in BEYOND or value_of(title) == value_of(words):
                return found
        if not shown:
            raise AskBack("There is no list yet. Which item do you mean, by its title?")
        if isinstance(where, str):
            raise WrongCall(f"there is no {words!r}: nothing in the list has a price")
        named = f"number {where}" if where >= 0 else repr(words)
        raise WrongCall(f"there is no {named}: the list ends at {len(shown)}")

    async def _called(self, words: str) -> str:
        """The id of the item that is called so; it may read the whole catalogue."""
        shown, passed = self.shown_ids, self.state.passed
        return await asyncio.to_thread(find_item, self.home, words, shown, passed)

    def _at(self, words: str, where: Place) -> str | None:
        """The id of the item at a place of the list; None where it has no such place."""
        shown = self.shown_ids
        # Some shops have numbers for ids: what is on the screen comes first.
        if found := _standing(where, self.state.shown):
            if len(found) == 1:
                return found[0]["item_id"]
            raise AskBack(f"By “{words}”, do you mean {' or '.join(_numbered(found, shown))}?")
        return words if self.home.catalogue.item(words) is not None else None

    async def read(self, words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The values of the shop that some words mean, and those of the words that mean none."""
        if not words:
            return (), ()
        vocabulary = await self.vocabulary()
        values, unknown = list[str](), list[str]()
        for each in words:
            found, left = vocabulary.parted(each)
            values += found
            unknown += left if found else [each]
        return tuple(dict.fromkeys(values)), tuple(dict.fromkeys(unknown))

    async def values(self, words: Sequence[str]) -> tuple[str, ...]:
        """The values of the shop that some words mean.

        Raises:
            CannotDo: No item has one of them.
        """
        if not words:
            return ()
        vocabulary = await self.vocabulary()
        return tuple(dict.fromkeys(value for each in words for value in vocabulary.named(each)))

    def priced(self, asked: Understood) -> Understood:
        """A request with `cheaper` and `dearer` as a price: they mean the list of now, not a later.

        Raises:
            AskBack: A price can be read in two ways.
        """
        read = partial(_price, shown=self.state.shown)
        over, under = read(asked.over, step=CENT), read(asked.under, step=-CENT)
        return asked.model_copy(update={"over": over, "under": under})

    async def conditions(self, asked: Understood) -> ItemFilter:
        """What an item must be, by the words of a request.

        Raises:
            AskBack: A price can be read in two ways.
            CannotDo: No item has one of the values.
            WrongCall: The prices contradict each other.
        """
        low, high = said_number(asked.over), said_number(asked.under)
        if low is not None and high is not None and low > high:
            raise WrongCall(f"nothing can be over {low:.15g} and under {high:.15g}")
        return ItemFilter(
            departments=await self.values([asked.department] if asked.department else []),
            having=await self.values(asked.having),
            without=await self.values(asked.without),
            min_price=low,
            max_price=high,
        )

    def undoable(self, *actions: Done) -> TurnUpdate:
        """The update that remembers actions, once also where the turn is worked on again."""
        if not actions:
            return {}
        before = (each for each in self.state.done if each not in actions)
        return {"done": [*before, *actions][-UNDOABLE:], "changed": self.state.turn}


Action = Callable[[Turn], Awaitable[TurnUpdate]]
"""What a turn does for an intent."""


def said_number(words: str) -> float | None:
    """The number that some words say; None where they say none.

    Raises:
        AskBack: They say several, or one that can be read in two ways.
    """
    found = numbers(words)
    if len(found) > 1:
        raise AskBack(f"By “{words}”, do you mean {' or '.join(map(_written, found))}?")
    return found[0] if found else None


def outcome(lead: str, items: Iterable[Shown] = (), lines: Iterable[str] = ()) -> Outcome:
    """What a turn came to."""
    return Outcome(lead=lead, items=list(items), lines=list(lines))


def partial_answer(said: Outcome) -> PartialAnswer:
    """What is known of an answer already."""
    items = said["items"]
    text = answer_text(said, numbered=len(items) > 1)
    return PartialAnswer(text, tuple(map(turn_item, items)))


def _price(words: str, *, shown: Sequence[Shown], step: float) -> str:
    """A price in words; `cheaper` and `dearer` are a step from the median of the list's prices.

    Below it is half the list at most, however dear a single item is.
    """
    if not words or said_number(words) is not None:
        return words
    prices = [each["price"] for each in shown if each["price"] is not None]
    return f"{max(median(prices) + step, 0.0):.2f}" if prices else ""


def _written(value: float) -> str:
    return f"{value:.2f}".removesuffix(".00")


def _standing(where: Place, shown: Sequence[Shown]) -> list[Shown]:
    """The items at a place of the list: none, or several where it may mean each of them."""
    count = len(shown)
    if isinstance(where, int):
        index = where - 1 if where > 0 else count + where
        return [shown[index]] if where and 0 <= index < count else []
    if where == "middle":
        return list(shown[(count - 1) // 2 : count // 2 + 1]) if count else []
    priced = [(each["price"], each) for each in shown if each["price"] is not None]
    if not priced:
        return []
    # Of two, `the cheaper one` is one of them; of more, it may be any but the dearest.
    if where in ("cheaper", "dearer") and (count > 2 or len(priced) < count):
        return list(shown)
    best = (min if where in ("cheapest", "cheaper") else max)(price for price, _ in priced)
    return [each for price, each in priced if price == best]


def _numbered(items: Iterable[Shown], shown: Sequence[str]) -> list[str]:
    return [f"{shown.index(each['item_id']) + 1}, {each['title']}" for each in items]
