"""Teacher (c): a bigger model takes the steps of the chain, and keeps what leads to the truth.

Its answers are held against the evidence like any model's. A chain is kept only if, at its end,
the model says Yes to what the user liked next and No to an item drawn in its place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from mllm_srec.agent.nodes import explain, fuse_items
from mllm_srec.agent.nodes.fuse_items import VisualAnswer, compact
from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.data.model_historian import ModelHistorian
from mllm_srec.finetune.data.others import Others, liked_items
from mllm_srec.finetune.data.records import AnyRecord, Record
from mllm_srec.finetune.data.rule_records import annotated_histories, draw_cuts
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.splits import split_home
from mllm_srec.finetune.data.telling import Point, Teller
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.pictures import PictureBudget, prepare
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Item

_BATCH = 64
"""Items asked about together: their pictures lie in memory."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """One history up to a point, the item that the user liked next, and another one."""

    user: str
    historian: ModelHistorian
    stop: int
    liked: FusedItem
    other: FusedItem


class ModelTeacher:
    """A model behind any engine that teaches a smaller one."""

    def __init__(self, engine: Engine, budget: PictureBudget) -> None:
        """Take the engine, and the budget of the pictures that it gets."""
        self._engine = engine
        self._tell = Teller(engine)
        self._budget = budget
        self.asked = 0
        """Chains that were tried."""
        self.kept = 0
        """Chains that led to the right labels."""

    def records(
        self,
        home: Home,
        settings: DataSettings,
        progress: Progress = lambda stage, done, total: None,
    ) -> Iterator[tuple[str, AnyRecord]]:
        """Yield records with their origin, as `rule_records` does.

        Args:
            home: The items and interactions.
            settings: How many records.
            progress: Told how many items are described, then how many chains are asked.

        Raises:
            FinetuneError: No chain of the model leads to the right labels.
        """
        # A log that cannot be split so is refused now, and not when all items are described.
        split_home(home, min_rating=Settings().liked_rating, **settings.split._asdict())
        fused: dict[str, FusedItem] = {}
        items = list(home.catalogue.items().values())
        for start in range(0, len(items), _BATCH):
            progress("describe", start, len(items))
            for item_id, record in self._item_records(home, items[start : start + _BATCH], fused):
                yield f"item:{item_id}", record
        progress("describe", len(items), len(items))
        histories = annotated_histories(home, set(fused), Settings(), settings.split)
        rng = np.random.default_rng(settings.seed)
        others = Others(histories, fused, rng, settings)
        historians = {
            user: ModelHistorian(events, fused, Settings()) for user, events in histories.items()
        }
        chains = list(_draw(historians, others, rng, settings.groups_per_user))
        progress("chains", 0, len(chains))
        kept = self._judged(self._told(chains))
        progress("chains", len(chains), len(chains))
        self.asked, self.kept = len(chains), len(kept)
        if not kept:
            raise FinetuneError(
                f"none of {len(chains)} chains of {self._engine.info.model!r} led to the right "
                "labels: take a better model, or labels (`--labels`)"
            )
        self._explain(kept)
        for chain in kept:
            for record in chain.historian.chain_records(chain.stop, chain.liked):
                yield f"user:{chain.user}", record
            if group := others.group(chain.historian, chain.stop):
                yield f"user:{chain.user}", group

    def _item_records(
        self, home: Home, items: Sequence[Item], fused: dict[str, FusedItem]
    ) -> Iterator[tuple[str, Record]]:
        """Describe items; what is described well is taught, and added to `fused`."""
        shown = [(item, item.picture) for item in items if item.picture is not None]
        questions = [
            fuse_items.look_question(prepare(home.pictures.load(picture), self._budget))
            for _, picture in shown
        ]
        looks: dict[str, VisualAnswer] = {}
        answers = self._tell.ask(questions, fuse_items.MAX_TOKENS)
        for (item, picture), question, look in zip(shown, questions, answers, strict=True):
            if look is not None:
                looks[item.item_id] = look
                yield item.item_id, Record.of("look", question.prompt, look.text, [picture])
        known = [item for item in items if item.picture is None or item.item_id in looks]
        asked = [fuse_items.fuse_question(item, looks.get(item.item_id)) for item in known]
        descriptions = self._tell.ask(asked, fuse_items.MAX_TOKENS)
        for item, merged, description in zip(known, asked, descriptions, strict=True):
            if description is not None:
                fused[item.item_id] = description
                text = compact(description.model_dump())
                yield item.item_id, Record.of("fuse", merged.prompt, text)

    def _told(self, chains: Sequence[_Chain]) -> list[_Chain]:
        """The chains of which the model told the windows and the profile."""
        told = self._tell([Point(chain.historian, chain.stop) for chain in chains])
        return list(compress(chains, told))

    def _judged(self, chains: Sequence[_Chain]) -> list[_Chain]:
        """The chains after which the model tells the liked item from the other one."""
        prompts = [
            prompt
            for chain in chains
            for prompt in chain.historian.score_prompts(chain.stop, [chain.liked, chain.other])
        ]
        scores = self._engine.score_labels(prompts, (YES, NO))
        yes = [score.logprobs[YES] > score.logprobs[NO] for score in scores]
        return [
            chain
            for chain, liked, other in zip(chains, yes[::2], yes[1::2], strict=True)
            if liked and not other
        ]

    def _explain(self, chains: Sequence[_Chain]) -> None:
        reasons = self._tell.ask(
            [chain.historian.reason_question(chain.stop, chain.liked) for chain in chains],
            explain.MAX_TOKENS,
        )
        for chain, reason in zip(chains, reasons, strict=True):
            if reason is not None:
                chain.historian.reasons[chain.stop] = reason


def _draw(
    historians: Mapping[str, ModelHistorian], others: Others, rng: np.random.Generator, count: int
) -> Iterator[_Chain]:
    """Yield so many chains of each user, of different lengths."""
    for user, historian in historians.items():
        for stop in draw_cuts(rng, count, len(historian.events) - 1):
            liked = liked_items(historian.events[stop:])[:1]
            unseen = others.unseen(historian, 1)
            if liked and unseen:
                items = historian.fused
                yield _Chain(user, historian, stop, items[liked[0]], items[unseen[0]])
