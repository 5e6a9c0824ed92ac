"""Which items stand against the liked ones in score groups, and which are explained."""

from collections.abc import Mapping, Sequence

import numpy as np

from mllm_srec.agent.state import Event
from mllm_srec.finetune.data.records import RecordGroup
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.teacher import Historian
from mllm_srec.store.records import FusedItem


class Others:
    """Draws the items that stand against the liked ones, and those to explain."""

    def __init__(
        self,
        histories: Mapping[str, Sequence[Event]],
        fused: Mapping[str, FusedItem],
        rng: np.random.Generator,
        settings: DataSettings,
    ) -> None:
        """Count the popularity.

        Args:
            histories: Of all users, by name; the training part alone.
            fused: What may be drawn.
            rng: For the draws.
            settings: How many items a group holds; fewer where a user has seen nearly all.
        """
        self._fused = fused
        self._ids = list(fused)
        self._settings = settings
        self._rng = rng
        counts = dict.fromkeys(self._ids, 1.0)
        for history in histories.values():
            for event in history:
                if event["verdict"] == "liked":
                    counts[event["item_id"]] += 1
        weights = np.array(list(counts.values()))
        self._popularity = np.cumsum(weights / weights.sum())
        self._with_value: dict[str, list[str]] = {}
        for item_id, item in fused.items():
            for value in item.facets():
                self._with_value.setdefault(value, []).append(item_id)

    def group(self, historian: Historian, stop: int) -> RecordGroup | None:
        """A score group: the next liked items against others; None where there are not both."""
        liked, others = self.sides(historian, stop)
        return historian.score_group(stop, liked, others) if others else None

    def sides(self, historian: Historian, stop: int) -> tuple[list[str], list[str]]:
        """The next liked items, and others drawn by popularity; both empty without a liked one.

        The others are unseen: an item that the user disliked never stands among them as a No. Such
        others teach p / (p + q) with a known q, which `combine` takes out again. Others chosen for
        being like the user's likes do not: with one of them in a group of nine, an MLP over what
        the prompt says fell from an NDCG@10 of .116 to .103 (validation, full ranking).
        """
        liked = liked_items(historian.events[stop:])[: self._settings.liked_per_group]
        others = self.unseen(historian, self._settings.others_per_group) if liked else []
        return (liked, others) if others else ([], [])

    def unseen(self, historian: Historian, count: int) -> list[str]:
        """Draw items by popularity that the user has not met in the training part, each once.

        What the user likes later may be among them: to leave it out would tell of the test part.
        """
        taken = {event["item_id"] for event in historian.events}
        count = min(count, len(self._ids) - len(taken))
        others: list[str] = []
        while len(others) < count:
            item_id = self._popular()
            if item_id not in taken and item_id not in others:
                others.append(item_id)
        return others

    def explained(self, historian: Historian, stop: int) -> FusedItem | None:
        """An item whose reason is worth learning: the next liked one, or one that resembles it."""
        liked = liked_items(historian.events[stop:])[:3]
        if not liked:
            return None
        item_id = self._sharing(liked) if self._rng.random() < 0.5 else liked[0]
        return historian.fused[item_id]

    def _popular(self) -> str:
        return self._ids[int(np.searchsorted(self._popularity, self._rng.random()))]

    def _sharing(self, liked: Sequence[str]) -> str:
        """An item that shares a value with one of some liked items."""
        values = list(self._fused[liked[int(self._rng.integers(len(liked)))]].facets())
        shared = self._with_value[values[self._rng.integers(len(values))]]
        return shared[self._rng.integers(len(shared))]


def liked_items(events: Sequence[Event]) -> list[str]:
    """The liked items of some events, in time order."""
    return [event["item_id"] for event in events if event["verdict"] == "liked"]
