"""Records of all steps from the annotations of items, by the chain's own plain forms."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from mllm_srec.agent.nodes.fuse_items import item_text
from mllm_srec.agent.nodes.load_user import events
from mllm_srec.agent.state import Event, Settings
from mllm_srec.finetune.data.alterations import Alterations
from mllm_srec.finetune.data.invented_words import InventedWords
from mllm_srec.finetune.data.model_historian import ServedHistorian
from mllm_srec.finetune.data.others import Others
from mllm_srec.finetune.data.records import AnyRecord, Record, RecordGroup
from mllm_srec.finetune.data.renamed import Renamed
from mllm_srec.finetune.data.settings import USUAL_SPLIT, DataSettings, SplitHow
from mllm_srec.finetune.data.splits import split_home
from mllm_srec.finetune.data.teacher import Annotation, Historian, fuse_record, look_record
from mllm_srec.finetune.data.telling import Point
from mllm_srec.store.home import Home
from mllm_srec.store.records import Interaction, Item

Tell = Callable[[Sequence[Point]], object]
"""Has a model tell histories; `Teller` is one."""


def rule_records(
    home: Home,
    annotations: Mapping[str, Annotation],
    settings: DataSettings,
    tell: Tell | None = None,
) -> Iterator[tuple[str, AnyRecord]]:
    """Yield records with their origin: `item:ID`, `user:ID`, or `picks:ID`.

    The last are score groups of `settings.further_users`: for soft labels alone.

    Args:
        home: The items and interactions.
        annotations: What the items are, by id.
        settings: How many records.
        tell: Has a model tell the histories that `settings.told_groups_per_user` stand on.
    """
    rng = np.random.default_rng(settings.seed)
    items = home.catalogue.items(list(annotations))
    invented = InventedWords.like(map(item_text, items.values()), rng)
    alter = Alterations(items, annotations, invented, rng)
    yield from _item_records(items, annotations, alter, settings)
    fused = {item_id: entry.fused for item_id, entry in annotations.items()}
    histories = annotated_histories(home, set(fused), Settings(), settings.split)
    sampler = Others(histories, fused, rng, settings)
    users = rng.permutation(list(histories))
    drawn: list[_Group] = []
    for user in users[: settings.users]:
        renamed = rng.random() < settings.renamed_users
        words = Renamed(fused, invented, rng) if renamed else fused
        historian = ServedHistorian(histories[user], words, Settings())
        for record in _user_records(historian, sampler, settings, rng):
            yield f"user:{user}", record
        drawn += _groups(user, historian, sampler, settings, rng)
    if tell is not None:
        tell(list(_told_points(drawn, settings.told_groups_per_user)))
    for group in drawn:
        yield f"user:{group.user}", group.record()
    for user in users[settings.users :][: settings.further_users]:
        further = ServedHistorian(histories[user], fused, Settings())
        for group in _groups(user, further, sampler, settings, rng):
            yield f"picks:{user}", group.record()


def _item_records(
    items: Mapping[str, Item],
    annotations: Mapping[str, Annotation],
    alter: Alterations,
    settings: DataSettings,
) -> Iterator[tuple[str, Record]]:
    for item_id, item in items.items():
        annotation = annotations[item_id]
        if record := look_record(item, annotation):
            yield f"item:{item_id}", record
        # What is rare in a shop and hard to learn comes four times as often.
        rare = annotation.look is None or annotation.fused.conflicts
        for _ in range(settings.fuse_per_item * (4 if rare else 1)):
            yield f"item:{item_id}", fuse_record(*alter(item, annotation))


def _user_records(
    historian: Historian, sampler: Others, settings: DataSettings, rng: np.random.Generator
) -> Iterator[AnyRecord]:
    length = len(historian.events)
    if length < 2:
        return
    for stop in draw_cuts(rng, settings.windows_per_user, length):
        yield historian.window_record(stop)
    for stop in draw_cuts(rng, settings.profiles_per_user, length):
        yield historian.profile_record(stop)
    for stop in draw_cuts(rng, settings.explanations_per_user, length - 1):
        if item := sampler.explained(historian, stop):
            yield historian.explain_record(stop, item)


class _Group(NamedTuple):
    """A score group that was drawn: its prompts are written when the history is told."""

    user: str
    historian: ServedHistorian
    stop: int
    liked: Sequence[str]
    others: Sequence[str]

    def record(self) -> RecordGroup:
        """The group, on what is known of the history now."""
        return self.historian.score_group(self.stop, self.liked, self.others)


def _groups(
    user: str,
    historian: ServedHistorian,
    sampler: Others,
    settings: DataSettings,
    rng: np.random.Generator,
) -> Iterator[_Group]:
    for stop in draw_cuts(rng, settings.groups_per_user, len(historian.events) - 1):
        liked, others = sampler.sides(historian, stop)
        if others:
            yield _Group(user, historian, stop, liked, others)


def _told_points(drawn: Iterable[_Group], count: int) -> Iterator[Point]:
    """Where the first so many groups of each user stand in the user's history."""
    for _, groups in groupby(drawn, key=lambda group: group.user):
        for group in islice(groups, count):
            yield Point(group.historian.told, group.stop)


def draw_cuts(rng: np.random.Generator, count: int, longest: int) -> list[int]:
    """Draw different lengths, 1 to `longest`, that a history is cut to; at most so many."""
    return [int(cut) for cut in rng.permutation(np.arange(1, longest + 1))[:count]]


def annotated_histories(
    home: Home, item_ids: set[str], settings: Settings, how: SplitHow = USUAL_SPLIT
) -> dict[str, list[Event]]:
    """Training histories in time order, without items that nobody annotated."""
    split = split_home(home, min_rating=settings.liked_rating, **how._asdict())
    histories: dict[str, list[Interaction]] = {}
    for row in split.train.sort("user_id", "position").iter_rows(named=True):
        if row["item_id"] in item_ids:
            histories.setdefault(row["user_id"], []).append(Interaction.model_validate(row))
    return {user: events(rows, settings) for user, rows in histories.items()}
