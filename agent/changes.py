"""What a program changes in a home: wishes, items, users."""

import asyncio
import threading
from collections.abc import Sequence

from mllm_srec.agent.chain import Chain
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import fuse
from mllm_srec.agent.state import Context
from mllm_srec.store.closing import Closing
from mllm_srec.store.feedback import Feedback, Stance
from mllm_srec.store.home import Home
from mllm_srec.store.records import Item
from mllm_srec.tools import feedback as tools
from mllm_srec.tools.errors import WrongCall
from mllm_srec.tools.values import Vocabulary


class Changes(Closing):
    """A deployment whose shop and users may change; each call has an asynchronous form, `a...`."""

    def __init__(self, deployment: Deployment, context: Context | None = None) -> None:
        self.deployment = deployment
        self._renewing = threading.Lock()
        self._use(context or deployment.context())

    @property
    def context(self) -> Context:
        """What the nodes depend on."""
        return self.chain.context

    def feedback(
        self, user: str, stance: Stance, words: str, *, origin: str = "Python"
    ) -> Feedback:
        """Keep that a user wants more, less or nothing of the value that some words name.

        Raises:
            WrongCall: The stance is none.
            CannotDo: No item of the shop has such a value.
        """
        home = self.deployment.home
        value = Vocabulary.of(home).value(words)
        return tools.give_feedback(home, user, stance, value, origin=origin)

    async def afeedback(
        self, user: str, stance: Stance, words: str, *, origin: str = "Python"
    ) -> Feedback:
        """`feedback` for asynchronous callers."""
        return await asyncio.to_thread(self.feedback, user, stance, words, origin=origin)

    def feedback_of(self, user: str) -> list[Feedback]:
        """The wishes of a user that count, each with where it was said; oldest first."""
        return self.deployment.home.feedback.of(user)

    async def afeedback_of(self, user: str) -> list[Feedback]:
        """`feedback_of` for asynchronous callers."""
        return await asyncio.to_thread(self.feedback_of, user)

    def undo_feedback(self, user: str, feedback_id: int | None = None) -> Feedback:
        """Take a wish back, the last one by default.

        Raises:
            CannotDo: There is nothing to take back.
        """
        return tools.undo_feedback(self.deployment.home, user, feedback_id)

    async def aundo_feedback(self, user: str, feedback_id: int | None = None) -> Feedback:
        """`undo_feedback` for asynchronous callers."""
        return await asyncio.to_thread(self.undo_feedback, user, feedback_id)

    def put_items(self, items: Sequence[Item]) -> None:
        """Add items, or change those whose id is known, and describe them at once.

        Of two with the same id the last counts.

        Raises:
            WrongCall: An item has a picture that is not kept: nothing was put.
            HomeBusy: Another process writes to the home.
            EngineLost: The engine stopped answering; the same call goes on from there.
        """
        home = self.deployment.home
        with home.lock():
            wanted = _wanted(home, items)
            home.catalogue.put_items(wanted)
            self.deployment.run(self._describe(wanted))
        self._renew()

    async def aput_items(self, items: Sequence[Item]) -> None:
        """`put_items` for asynchronous callers, from any loop; cancelling it stops the engine.

        What was put stays put: a later call, or `srec ingest`, describes what is left.
        """
        home = self.deployment.home
        with home.lock():
            wanted = _wanted(home, items)
            await asyncio.to_thread(home.catalogue.put_items, wanted)
            await self.deployment.arun(self._describe(wanted))
        await asyncio.to_thread(self._renew)

    def delete_item(self, item_id: str) -> bool:
        """Delete an item with its interactions, description and vector; False if unknown.

        Raises:
            HomeBusy: Another process writes to the home.
        """
        deleted = self.deployment.home.delete_item(item_id)
        self._renew()
        return deleted

    async def adelete_item(self, item_id: str) -> bool:
        """`delete_item` for asynchronous callers."""
        return await asyncio.to_thread(self.delete_item, item_id)

    def delete_user(self, user: str) -> int:
        """Delete what is kept under a user's name; the number of interactions deleted.

        Of the pictures that the user gave, those stay that another user gave, too, or that an item
        has.

        Raises:
            HomeBusy: Another process writes to the home, or a conversation of the user is open:
                nothing was deleted.
        """
        deleted = self.deployment.home.delete_user(user)
        self._renew()
        return deleted

    async def adelete_user(self, user: str) -> int:
        """`delete_user` for asynchronous callers."""
        return await asyncio.to_thread(self.delete_user, user)

    async def _describe(self, items: Sequence[Item]) -> None:
        with self.context.run("put_items", inputs={"items": len(items)}):
            await fuse(self.context, items)

    def _renew(self) -> None:
        """Read the catalogue and the log again."""
        # One after the other: what was read first shall not be used last.
        with self._renewing:
            now = self.context
            context = self.deployment.context_of(
                now.calls, now.tracer, settings=now.settings, weights=now.weights
            )
            self._use(context)

    def _use(self, context: Context) -> None:
        # Fitted here, and not in the turn of whoever comes first.
        context.collaborative()
        context.facets()
        self.chain = Chain(self.deployment, context)
        """The graph at work, on the shop as it is."""


def _wanted(home: Home, items: Sequence[Item]) -> list[Item]:
    """The last item of each id, once all pictures are known to be there."""
    for item in items:
        if item.picture is not None and item.picture not in home.pictures:
            raise WrongCall(
                f"item {item.item_id!r} has the picture {item.picture!r}, which is not kept: "
                "`deployment.home.pictures.add` keeps one and gives its key"
            )
    return list({item.item_id: item for item in items}.values())
