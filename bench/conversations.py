"""Fifty conversations at once over one vLLM server, against one after the other."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from statistics import harmonic_mean

import numpy as np

from bench.figures import Figure
from bench.shop import Shop, served, users_with
from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.load import load_engine

AT_ONCE = 50
ALONE = 3
"""Conversations that are held one after the other, before the others and again after them."""
LEAST_HISTORY = 4
"""Interactions of a user who talks."""
TURNS: tuple[tuple[str, Understood | None], ...] = (
    ("/recommend", Understood(intent="recommend")),
    ("something softer, and not so dear", None),
    ("/why 1", Understood(intent="why", item="1")),
)
"""What each says: a line with an `Understood` needs no reading by the model, the others do."""


def measure(shop: Shop) -> list[Figure]:
    """Turns a second of fifty conversations at once through those of one at a time.

    Raises:
        RuntimeError: A turn was lost, or landed in another thread.
    """
    with _served(shop) as talks:
        fit = users_with(talks.home.catalogue, LEAST_HISTORY, wanted=1 + 2 * ALONE + AT_ONCE)
        _held(talks, fit[:1], at_once=1)  # Warms up.
        users = iter(fit[1:])
        before, _ = _held(talks, list(islice(users, ALONE)), at_once=1)
        together, took = _held(talks, list(islice(users, AT_ONCE)), at_once=AT_ONCE)
        after, _ = _held(talks, list(islice(users, ALONE)), at_once=1)
    alone = harmonic_mean([before, after])
    detail = (
        f"{together:.2f} turns/s of {AT_ONCE} at once, {alone:.2f} of one at a time; a turn of "
        f"{AT_ONCE} at once took {np.percentile(took, 95):.2f} s at the 95th percentile"
    )
    return [Figure("conversations_gain", together / alone, 1.5, at_least=True, detail=detail)]


@contextmanager
def _served(shop: Shop) -> Iterator[Conversations]:
    """The conversations of a home whose items are described, on a server of its own."""
    home = shop.fresh_home(fused=True)
    with (
        served(shop.model, home) as file,
        closing(load_engine("vllm-server", shop.model, server_file=file).engine) as engine,
        Recommender.open(home, engine=engine, model=shop.model) as srec,
        Conversations(srec) as talks,
    ):
        yield talks


def _held(talks: Conversations, users: Sequence[str], *, at_once: int) -> tuple[float, list[float]]:
    """Hold a conversation with each user; turns a second, and the seconds of each turn."""
    chats = [talks.begin(user) for user in users]

    async def hold() -> list[list[TurnResult]]:
        gate = asyncio.Semaphore(at_once)

        async def one(chat: Conversation) -> list[TurnResult]:
            async with gate:
                return [await _turn(chat, text, turn) for text, turn in TURNS]

        return await asyncio.gather(*map(one, chats))

    started = time.perf_counter()
    results = asyncio.run(hold())
    seconds = time.perf_counter() - started
    for chat, turns in zip(chats, results, strict=True):
        _check(chat, turns)
        chat.close()
    took = [turn.seconds for turns in results for turn in turns]
    return len(took) / seconds, took


async def _turn(chat: Conversation, text: str, turn: Understood | None) -> TurnResult:
    return await asyncio.wrap_future(chat.start(text, lambda event: None, turn=turn))


def _check(chat: Conversation, turns: Sequence[TurnResult]) -> None:
    kept = [(turn.turn, turn.said["text"], turn.result is not None) for turn in chat.turns()]
    said = [(number, text, True) for number, (text, _) in enumerate(TURNS, 1)]
    if kept != said or {(turn.thread, turn.user) for turn in turns} != {(chat.thread, chat.user)}:
        raise RuntimeError(f"the thread {chat.thread} of {chat.user} holds {kept}")
    if not turns[0].items:
        raise RuntimeError(f"{chat.user} got no list: {turns[0].answer!r}")
