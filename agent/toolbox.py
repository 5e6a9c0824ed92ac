"""The tools as other agents call them: bound to one user, small results, errors in words.

One list of functions serves LangChain (`langchain_toolbox`) and MCP (`mcp_server`): names,
arguments and descriptions are read off them.
"""

import asyncio
import base64
import binascii
import functools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from pydantic import BaseModel, Field, WithJsonSchema

from mllm_srec.agent.chain import check_user
from mllm_srec.agent.nodes.fuse_items import fused_picture
from mllm_srec.agent.recommend_tool import GraphRecommend
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.untrusted import sound
from mllm_srec.llm.engine import ModelError
from mllm_srec.store.errors import BadPicture, StoreError
from mllm_srec.store.feedback import Stance
from mllm_srec.tools import feedback as wishes
from mllm_srec.tools import history as histories
from mllm_srec.tools import items, search
from mllm_srec.tools import recommend as recommending
from mllm_srec.tools.errors import CannotDo, ToolError, WrongCall
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.values import Vocabulary

Result = dict[str, Any]
Tool = Callable[..., Coroutine[Any, Any, Result]]

Length = Annotated[
    int,
    # Said, and not checked here: the tool refuses others itself, in its own words.
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": recommending.MAX_LIST}),
    Field(description="How many items."),
]
Count = Annotated[
    int,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": items.MAX_COUNT}),
    Field(description="How many items at most."),
]
ItemId = Annotated[str, Field(description="The item's id, as results carry it.")]
Departments = Annotated[
    list[str] | None,
    Field(description="Only items of one of these departments, by their names in the shop."),
]
Having = Annotated[
    list[str] | None,
    Field(description="Only items with all of these values: red, cotton, a brand, a kind."),
]
Without = Annotated[
    list[str] | None,
    Field(description="No item with any of these values."),
]
Price = Annotated[float | None, Field(description="In the shop's currency, itself included.")]
Beside = Annotated[
    list[str] | None,
    Field(
        description="Ids of items that it is ranked among; alone by default.",
        max_length=recommending.MAX_LIST,
    ),
]
Rating = Annotated[
    float | None,
    Field(description="1 to 5, and beyond as far as ratings of the shop's log go."),
]
Said = Annotated[Stance, Field(description="What is wanted of it.")]
Value = Annotated[str, Field(description="Of items: a colour, a material, a brand, a kind.")]
WishId = Annotated[
    int | None, Field(description="As `user_profile` lists it; the last one's else.")
]

MAX_PICTURE = 8 << 20
"""Bytes of a picture that comes as base64."""
MAX_TRACED = 2_000
"""Characters of an argument that stand in the trace."""


class Toolbox:
    """Tools over a home for one user; the caller cannot name another one."""

    def __init__(self, srec: Recommender, user: str, *, origin: str) -> None:
        # Here: the agent that calls the tools could not help it.
        check_user(user)
        self._srec = srec
        self._home = srec.deployment.home
        self._user = user
        self._origin = origin
        self._graph = GraphRecommend(srec)

    def functions(self) -> list[Tool]:
        """The tools as coroutine functions for any event loop.

        They raise `WrongCall`, or `CannotDo` also where the home or the model fails.
        """
        tools: tuple[Tool, ...] = (
            self.recommend,
            self.search_text,
            self.search_picture,
            self.similar_items,
            self.item_details,
            self.compare_items,
            self.explain_item,
            self.user_history,
            self.add_to_history,
            self.remove_from_history,
            self.user_profile,
            self.give_feedback,
            self.give_item_feedback,
            self.undo_feedback,
        )
        return [self._callable(tool) for tool in tools]

    def _callable(self, tool: Tool) -> Tool:
        @functools.wraps(tool)
        async def call(**arguments: Any) -> Result:
            # The engine's front lives on the loop of the graph.
            work = self._traced(tool, sound(arguments))
            try:
                return await self._srec.deployment.arun(work)
            except BadPicture as error:
                raise WrongCall(str(error)) from error
            except (StoreError, ModelError) as error:
                raise CannotDo(str(error)) from error

        return call

    async def _traced(self, tool: Tool, arguments: dict[str, Any]) -> Result:
        """Call a tool as a traced run; a recommendation that it makes is a part of that run."""
        name, context = tool.__name__, self._srec.context
        inputs = {each: _traceable(value) for each, value in arguments.items()}
        with (
            context.run(f"tool {name}", user=self._user, inputs=inputs),
            context.tracer.node(name, inputs=inputs, kind=Kind.TOOL) as step,
        ):
            result = await tool(**arguments)
            step.output(result)
        return result

    async def recommend(
        self,
        k: Length = 5,
        departments: Departments = None,
        having: Having = None,
        without: Without = None,
        min_price: Price = None,
        max_price: Price = None,
    ) -> Result:
        """Recommend k items to the user, each with a reason; conditions narrow the choice."""
        conditions = _conditions(departments, having, without, min_price, max_price)
        found = await recommending.recommend(self._graph, self._user, k=k, conditions=conditions)
        return {
            "items": [
                {
                    "item_id": each.item_id,
                    "title": each.title,
                    "price": each.price,
                    "score": each.score,
                    "reason": each.reason,
                }
                for each in found.items
            ],
            "notes": list(found.notes),
            "trace_id": found.trace_id,
            "engine": found.engine,
        }

    async def search_text(
        self,
        words: Annotated[str, Field(description="In any order; values of the shop count most.")],
        count: Count = 5,
        departments: Departments = None,
        having: Having = None,
        without: Without = None,
        min_price: Price = None,
        max_price: Price = None,
    ) -> Result:
        """Find items by words: what they are, their colour, material, brand, purpose.

        `unknown` are the words that no item has: what is found is not what they mean. What the user
        never wants is left out.
        """
        conditions = _conditions(departments, having, without, min_price, max_price)
        vocabulary = await asyncio.to_thread(Vocabulary.of, self._home)
        found = await search.search_text(
            self._home,
            self._embed,
            words,
            vocabulary,
            count=count,
            conditions=conditions,
            user_id=self._user,
        )
        unknown = await asyncio.to_thread(search.unknown_words, self._home, words, vocabulary)
        return {"unknown": unknown, "items": [asdict(each) for each in found]}

    async def search_picture(
        self,
        picture_base64: Annotated[str, Field(description="The file, at most 8 MiB of it.")],
        words: Annotated[str, Field(description="What the picture does not show.")] = "",
        count: Count = 5,
        departments: Departments = None,
        having: Having = None,
        without: Without = None,
        min_price: Price = None,
        max_price: Price = None,
    ) -> Result:
        """Find items like a picture (PNG or JPEG as base64), and words about it."""
        conditions = _conditions(departments, having, without, min_price, max_price)
        # Decoding a large one takes a second: other calls go on meanwhile.
        add = self._home.pictures.add
        kept = await asyncio.to_thread(add, _decoded(picture_base64), giver=self._user)
        fused = await fused_picture(self._srec.context, kept, words)
        found = await search.search_described(
            self._home,
            self._embed,
            fused,
            count=count,
            conditions=conditions,
            user_id=self._user,
        )
        return {"seen": fused.line, "items": [asdict(each) for each in found]}

    async def similar_items(
        self,
        item_id: ItemId,
        count: Count = 5,
        departments: Departments = None,
        having: Having = None,
        without: Without = None,
        min_price: Price = None,
        max_price: Price = None,
    ) -> Result:
        """Find items like another one, but for those that the user has or never wants."""
        conditions = _conditions(departments, having, without, min_price, max_price)
        found = await search.search_similar(
            self._home,
            self._embed,
            item_id,
            count=count,
            conditions=conditions,
            user_id=self._user,
        )
        return {"items": [asdict(each) for each in found]}

    async def item_details(self, item_id: ItemId) -> Result:
        """Everything that is known about an item."""
        return asdict(items.item_details(self._home, item_id))

    async def compare_items(self, first: ItemId, second: ItemId) -> Result:
        """What two items share, and what only one of them has."""
        return asdict(items.compare(self._home, first, second))

    async def explain_item(self, item_id: ItemId, beside: Beside = None) -> Result:
        """Why an item suits the user or not, ranked among the items beside it."""
        standing = await recommending.explain(
            self._home, self._graph, self._user, item_id, beside=beside or ()
        )
        return asdict(standing)

    async def user_history(self, count: Count = 10) -> Result:
        """What the user did last."""
        lines = histories.history(self._home, self._user, count=count)
        return {"items": [asdict(line) for line in lines]}

    async def add_to_history(self, item_id: ItemId, rating: Rating = None) -> Result:
        """Keep that the user has an item, with a rating where one was said."""
        added = histories.add_to_history(self._home, self._user, item_id, rating=rating)
        return added.model_dump()

    async def remove_from_history(self, item_id: ItemId) -> Result:
        """Take an item out of the user's history."""
        return histories.remove_from_history(self._home, self._user, item_id).model_dump()

    async def user_profile(self) -> Result:
        """The user's taste, each statement with the items that show it, and the wishes said."""
        found = await self._graph.known(self._user)
        said = self._home.feedback.of(self._user)
        return {
            "preference": found.preference,
            "tastes": {taste: list(evidence) for taste, evidence in found.tastes.items()},
            "wishes": [each.model_dump() for each in said],
        }

    async def give_feedback(self, stance: Said, value: Value) -> Result:
        """Keep that the user wants more, less or never again a value such as a colour."""
        said = await self._srec.afeedback(self._user, stance, value, origin=self._origin)
        return said.model_dump()

    async def give_item_feedback(self, stance: Said, item_id: ItemId) -> Result:
        """Keep that the user wants more or less like an item, or never sees it again."""
        said = wishes.give_item_feedback(
            self._home, self._user, stance, item_id, origin=self._origin
        )
        return said.model_dump()

    async def undo_feedback(self, feedback_id: WishId = None) -> Result:
        """Take a wish back, the last one by default."""
        return wishes.undo_feedback(self._home, self._user, feedback_id).model_dump()

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return await self._srec.deployment.calls.embed(texts)


def told(error: ToolError) -> str:
    """A failure as a model reads it: its kind, then why."""
    return f"{error.kind.replace('_', ' ')}: {error}"


def refuse_others(arguments: type[BaseModel]) -> None:
    """Make a schema of arguments refuse those that it does not name.

    Left out in silence, a misspelt one does something else: `undo_feedback(id=3)` would take back
    the last wish.
    """
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)


def _traceable(value: Any) -> Any:
    """An argument as a trace keeps it: a picture as base64 by its length."""
    long = isinstance(value, str) and len(value) > MAX_TRACED
    return f"<{len(value)} characters>" if long else value


def _conditions(
    departments: list[str] | None,
    having: list[str] | None,
    without: list[str] | None,
    min_price: float | None,
    max_price: float | None,
) -> ItemFilter:
    return ItemFilter(
        departments=tuple(departments or ()),
        having=tuple(having or ()),
        without=tuple(without or ()),
        min_price=min_price,
        max_price=max_price,
    )


def _decoded(picture_base64: str) -> bytes:
    if len(picture_base64) > MAX_PICTURE * 4 // 3 + 4:
        raise WrongCall(f"the picture is larger than {MAX_PICTURE >> 20} MiB: send a smaller one")
    try:
        return base64.b64decode(picture_base64, validate=True)
    except binascii.Error as error:
        raise WrongCall(f"the picture is not base64: {error}") from error
