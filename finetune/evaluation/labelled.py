"""How well pictures and texts are read, on held-out items that somebody labelled.

Labels come as `srec finetune data` reads them. Unlike the truth of a drawn shop they may know no
more than what an item is; nobody needs to have chosen anything.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mllm_srec.agent.ask import Reply, ask
from mllm_srec.agent.nodes.fuse_items import MAX_TOKENS, VisualAnswer, fuse_question, look_at
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.results import Progress
from mllm_srec.agent.state import Context
from mllm_srec.finetune.data.teacher import annotate_labelled, read_labels
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.fusion import FUSION, PICTURE_ATTRIBUTES, share
from mllm_srec.finetune.evaluation.watched_calls import WatchedCalls
from mllm_srec.store.records import UNKNOWN, FusedItem, Item

BLOCK = 256
"""Items that are asked about together."""
ATTRIBUTES = ("type", *PICTURE_ATTRIBUTES)
"""What is measured; the type is what `what` says."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One labelled item, and what the model made of its picture, of its text, and of both."""

    label: FusedItem
    pictured: bool
    look: VisualAnswer | None
    """The answer about the picture; None without a picture or an answer of use."""
    text_alone: FusedItem
    both: FusedItem
    fallback: bool
    """Whether code put a plain form in the place of the merging."""

    @property
    def unread(self) -> bool:
        """Whether there is a picture of which the model said nothing of use."""
        return self.pictured and self.look is None


def evaluate_labelled(
    recommender: Recommender,
    labels: Path,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Ask about the picture, the text and both of every labelled item, and compare.

    Args:
        recommender: An open home that has the items; fused or not.
        labels: A file of labels of items that no training saw.
        progress: Told how many items are read.

    Raises:
        FinetuneError: The file holds no labels, or of items that the home does not have.
    """
    said = read_labels(labels)
    deployment = recommender.deployment
    items = deployment.home.catalogue.items(list(said))
    if missing := [item_id for item_id in said if item_id not in items]:
        raise FinetuneError(
            f"{len(missing)} of the {len(said)} labelled items are not in the home, the first is "
            f"{missing[0]!r}: run `srec ingest` with the file that has them"
        )
    annotated = {item_id: each.fused for item_id, each in annotate_labelled(items, said).items()}
    calls = WatchedCalls(recommender.context.calls)
    context = replace(recommender.context, calls=calls)
    listed = list(items.values())
    readings = list[Reading]()
    for start in range(0, len(listed), BLOCK):
        progress("fuse", start, len(listed))
        block = listed[start : start + BLOCK]
        readings += deployment.run(_read(context, recommender.context, block, annotated))
    progress("fuse", len(listed), len(listed))
    calls.counts.fallbacks = sum(one.unread + one.fallback for one in readings)
    return {
        "engine": deployment.info.engine,
        "fusion": reading_figures(readings),
        **calls.counts.to_dict(),
    }


async def _read(
    context: Context, halves: Context, items: Sequence[Item], labels: Mapping[str, FusedItem]
) -> list[Reading]:
    """Ask as the chain does; texts alone through calls that are not counted as the chain's."""
    looks = await look_at(context, items)
    both = await _merge(context, items, looks)
    texts = await _merge(halves, items, {})
    return [
        Reading(
            label=labels[item.item_id],
            pictured=item.picture is not None,
            look=looks.get(item.item_id),
            text_alone=text.value,
            both=merged.value,
            fallback=merged.fallback,
        )
        for item, text, merged in zip(items, texts, both, strict=True)
    ]


async def _merge(
    context: Context, items: Sequence[Item], looks: Mapping[str, VisualAnswer]
) -> list[Reply[FusedItem]]:
    return await ask(
        context.calls,
        [fuse_question(item, looks.get(item.item_id)) for item in items],
        max_tokens=MAX_TOKENS,
    )


def reading_figures(readings: Sequence[Reading]) -> dict[str, Any]:
    """Accuracy of each attribute, over the items of which the labels know it.

    Names are those of the figures of a drawn shop; what labels cannot tell is None.
    """
    pictured = [one for one in readings if one.pictured]
    both = _accuracy((one.label, one.both) for one in readings)
    return {
        **dict.fromkeys(FUSION),
        **{f"{name}_accuracy": value for name, value in both.items()},
        "items": len(readings),
        "pictures": len(pictured),
        "unread": sum(one.unread for one in readings),
        "picture_alone": _accuracy((one.label, one.look) for one in pictured),
        "text_alone": _accuracy((one.label, one.text_alone) for one in pictured),
        "chance": _chance([one.label for one in pictured]),
        "types_by_picture": _types(pictured),
    }


def _accuracy(
    pairs: Iterable[tuple[FusedItem, FusedItem | VisualAnswer | None]],
) -> dict[str, float | None]:
    listed = list(pairs)
    return {
        name: share(
            said is not None and _value(said, name) == wanted
            for label, said in listed
            if (wanted := _value(label, name)) is not None
        )
        for name in ATTRIBUTES
    }


def _value(said: FusedItem | VisualAnswer, name: str) -> str | None:
    if name == "type":
        return said.what if said.what != UNKNOWN else None
    told = said.told if isinstance(said, FusedItem) else {}
    return said.seen.get(name) or told.get(name)


def _chance(labels: Sequence[FusedItem]) -> dict[str, float | None]:
    """What always naming the most frequent value would get right."""

    def most(name: str) -> float | None:
        counts = Counter(value for label in labels if (value := _value(label, name)))
        return max(counts.values()) / counts.total() if counts else None

    return {name: most(name) for name in ATTRIBUTES}


def _types(pictured: Sequence[Reading]) -> dict[str, dict[str, float]]:
    """Of each type how many pictures there are, and the share named right by the picture alone."""
    named: dict[str, list[bool]] = {}
    for one in pictured:
        if (what := _value(one.label, "type")) is not None:
            named.setdefault(what, []).append(one.look is not None and one.look.what == what)
    return {
        what: {"items": len(right), "right": sum(right) / len(right)}
        for what, right in sorted(named.items())
    }
