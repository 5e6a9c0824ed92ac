"""A conversation over the shop of eight items, with a model that understands by a script."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.reading import Reading
from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.records import Interaction
from tests.agent.shop import LOG, answer, deploy, score

Answering = Callable[[Prompt], str]
_READINGS: dict[str, dict[str, Any]] = {
    "what should I get": {"intent": "recommend"},
    "two things please": {"intent": "recommend", "k": "two"},
    "only wooden ones": {"intent": "recommend", "again": True, "having": ("wooden",)},
    "something green under 30": {
        "intent": "recommend",
        "having": ("green",),
        "under": "30",
    },
    "anything purple": {"intent": "recommend", "having": ("purple",)},
    "others": {"intent": "recommend", "again": True},
    "find a blue ball": {"intent": "search", "words": "blue ball"},
    "find": {"intent": "search"},
    "like this": {"intent": "search"},
    "more red": {"intent": "more", "having": ("red",)},
    "more like the first": {"intent": "more", "item": "the first"},
    "more": {"intent": "more"},
    "less rubber": {"intent": "less", "having": ("rubber",)},
    "never rubber": {"intent": "never", "having": ("rubber",)},
    "never wood": {"intent": "never", "having": ("wood",)},
    "never blue": {"intent": "never", "having": ("blue",)},
    "never again": {"intent": "never"},
    "the robot": {"intent": "never", "item": "the robot"},
    "why the first": {"intent": "why", "item": "the first"},
    "why the second": {"intent": "why", "item": "the second"},
    "why": {"intent": "why"},
    "why 9": {"intent": "why", "item": "9"},
    "why not the rattle": {"intent": "why_not", "item": "rattle"},
    "why not the duck": {"intent": "why_not", "item": "duck"},
    "compare duck and drum": {"intent": "compare", "item": "duck", "second": "drum"},
    "compare them": {"intent": "compare"},
    "who am i to you": {"intent": "profile"},
    "forget blue": {"intent": "profile", "do": "forget", "having": ("blue",)},
    "what did I get": {"intent": "history"},
    "I have the puzzle": {"intent": "history", "do": "add", "item": "puzzle"},
    "drop the rattle from it": {"intent": "history", "do": "remove", "item": "rattle"},
    "add wood but no rubber to my profile": {
        "intent": "profile",
        "do": "add",
        "having": ("wood",),
        "without": ("rubber",),
    },
    "add to my profile": {"intent": "profile", "do": "add"},
    "forget wood": {"intent": "profile", "do": "forget", "having": ("wood",)},
    "undo": {"intent": "undo"},
    "i am ben": {"intent": "user"},
    "help": {"intent": "help"},
    "what is the weather": {"intent": "other"},
}
INVENTIONS = {
    "show me an offer": '{"intent":"why","item":"i404"}',
    "a cheap thing": '{"intent":"recommend","under":"999","k":"7"}',
    "nice": '{"intent":"compare","item":"Golden Robot","second":"2"}',
    "well": "There is a Golden Robot at 4.99!",
}
"""What a model says that makes things up, by the message."""
READINGS = {said: Understood(**reading) for said, reading in _READINGS.items()}


def _do(chat: Conversation, text: str, **how: Any) -> TurnResult:
    return chat.do(READINGS[text], said=text, **how)


def _started(chat: Conversation, text: str, **how: Any) -> TurnResult:
    return chat.start(text, lambda event: None, **how).result()


def _streamed(chat: Conversation, text: str, **how: Any) -> TurnResult:
    *_, last = chat.stream(text, **how)
    assert isinstance(last, TurnResult)
    return last


async def _astreamed(chat: Conversation, text: str, **how: Any) -> TurnResult:
    *_, last = [event async for event in chat.astream(text, **how)]
    assert isinstance(last, TurnResult)
    return last


FORMS: dict[str, Callable[..., TurnResult]] = {
    "say": Conversation.say,
    "asay": lambda chat, text, **how: asyncio.run(chat.asay(text, **how)),
    "do": _do,
    "ado": lambda chat, text, **how: asyncio.run(chat.ado(READINGS[text], said=text, **how)),
    "start": _started,
    "stream": _streamed,
    "astream": lambda chat, text, **how: asyncio.run(_astreamed(chat, text, **how)),
}
"""The forms of a turn, each as a call with its words and how it is done."""


def said(prompt: Prompt) -> str:
    """The message that a prompt is about, as it is read."""
    return prompt.messages[1].text.rpartition("User: ")[2]


def answering(readings: Mapping[str, str] | None = None) -> Answering:
    """The shop's rules, and readings of messages; those given count first, as raw answers."""
    own = {Reading.of(message).text: reading for message, reading in (readings or {}).items()}
    known = {Reading.of(message).text: reading for message, reading in READINGS.items()}

    def reply(prompt: Prompt) -> str:
        text = prompt.messages[1].text
        if text.startswith("Merge") and "Title: Fine" not in text:
            # A user's picture: nothing is known but what it shows.
            colour = re.search(r'"colour":"(\w+)"', text)
            return compact({"what": "toy", "seen": {"colour": colour[1]} if colour else {}})
        if not text.startswith("What does the user want?"):
            return answer(prompt)
        message = said(prompt)
        if message in own:
            return own[message]
        return known.get(message, Understood(intent="other")).compact

    return reply


def engine(readings: Mapping[str, str] | None = None) -> ScriptedEngine:
    """An engine that answers by these rules."""
    return ScriptedEngine(answer=answering(readings), score=score)


@contextmanager
def opened(path: Path, model: ScriptedEngine | None = None) -> Iterator[Conversations]:
    """The conversations of the shop."""
    with deploy(path, model or engine()) as deployment:
        fuse_missing(deployment)
        with Conversations(Recommender(deployment)) as talks:
            yield talks


def ids(turn: TurnResult) -> list[str]:
    """The items of an answer."""
    return [item.item_id for item in turn.items]


def guest(talks: Conversations) -> str:
    """A new user with the log of ben."""
    user = f"guest-{uuid4().hex[:8]}"
    talks.home.catalogue.put_interactions(
        Interaction(user_id=user, item_id=item_id, position=position, rating=rating)
        for position, (item_id, rating) in enumerate(LOG["ben"])
    )
    return user
