"""SFT records of the later steps, asked as a variant of the chain asks."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mllm_srec.agent.nodes.fuse_items import described
from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.finetune.ablation.variants import AblationError, Variant
from mllm_srec.finetune.data.others import Others
from mllm_srec.finetune.data.records import AnyRecord, Record, RecordGroup
from mllm_srec.finetune.data.rule_records import annotated_histories, draw_cuts
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.teacher import Historian
from mllm_srec.finetune.data.write import write_split
from mllm_srec.store.home import Home


def write_later_steps(home: Home, variant: Variant, out: Path, *, seed: int) -> None:
    """Write the data folder of one run; nothing is chosen on validation, so there is none.

    Raises:
        AblationError: The home has no descriptions, or no histories to learn from.
    """
    # With its picture every item of a group is a record of its own, ten in the place of one.
    groups = 1 if variant.chain.scoring_picture else 6
    settings = DataSettings(
        seed=seed, windows_per_user=3, profiles_per_user=2, groups_per_user=groups
    )
    made = list(later_steps(home, variant, settings))
    if lacking := set(variant.tasks) - {record.task for _, record in made}:
        raise AblationError(
            f"no records of {sorted(lacking)} in {str(home.path)!r}: its items must be described "
            "and its users have a history, run `srec ingest`"
        )
    about = {"variant": variant.name, **settings.plain()}
    write_split({"train": made, "validation": []}, out, seed=seed, settings=about)


def later_steps(
    home: Home, variant: Variant, settings: DataSettings
) -> Iterator[tuple[str, AnyRecord]]:
    """Yield records of the training part with their origin, `user:ID`.

    Histories are told in the home's own descriptions, which the model meets when it serves.
    """
    catalogue, chain = home.catalogue, variant.chain
    fused = described(catalogue, catalogue.item_ids(), without=chain.without)
    histories = annotated_histories(home, set(fused), chain)
    rng = np.random.default_rng(settings.seed)
    sampler = Others(histories, fused, rng, settings)
    scores = _ScoreRecords(sampler, _pictures(home) if chain.scoring_picture else None)
    for user, events in histories.items():
        if len(events) > 1:
            historian = Historian(events, fused, chain)
            for record in _user_records(historian, scores, settings, rng):
                if record.task in variant.tasks:
                    yield f"user:{user}", record


def _user_records(
    historian: Historian,
    scores: "_ScoreRecords",
    settings: DataSettings,
    rng: np.random.Generator,
) -> Iterator[AnyRecord]:
    length = len(historian.events)
    for stop in draw_cuts(rng, settings.windows_per_user, length):
        yield historian.window_record(stop)
    for stop in draw_cuts(rng, settings.profiles_per_user, length):
        yield historian.profile_record(stop)
    for stop in draw_cuts(rng, settings.groups_per_user, length - 1):
        yield from scores(historian, stop)


def _pictures(home: Home) -> dict[str, str]:
    return {
        item_id: item.picture
        for item_id, item in home.catalogue.items().items()
        if item.picture is not None
    }


class _ScoreRecords:
    """Score records of one point in a history."""

    def __init__(self, sampler: Others, pictures: Mapping[str, str] | None) -> None:
        """Keep what they are made from.

        Args:
            sampler: Draws the items.
            pictures: Their pictures, where the prompt shows them; an item may lack one.
        """
        self._sampler = sampler
        self._pictures = pictures

    def __call__(self, historian: Historian, stop: int) -> Iterator[Record | RecordGroup]:
        """Yield a group, or with pictures a record an item: there the beginnings differ."""
        if self._pictures is None:
            if group := self._sampler.group(historian, stop):
                yield group
            return
        liked, others = self._sampler.sides(historian, stop)
        ids = [*liked, *others]
        prompts = historian.score_prompts(stop, [historian.fused[item_id] for item_id in ids])
        for item_id, prompt in zip(ids, prompts, strict=True):
            picture = self._pictures.get(item_id)
            label = YES if item_id in liked else NO
            yield Record.of("score_target", prompt, label, [picture] if picture else [])
