"""How well items are fused: each attribute, each kind of item, what picture and text give alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mllm_srec.agent.ask import ask
from mllm_srec.agent.nodes.fuse_items import (
    MAX_TOKENS,
    VisualAnswer,
    fuse_question,
    item_text,
    look_at,
)
from mllm_srec.agent.state import Context
from mllm_srec.finetune.shop.vocabulary import ItemTruth
from mllm_srec.store.records import UNKNOWN, FusedItem, Item

PICTURE_ATTRIBUTES = ("colour", "pattern", "style")
CARRIED = ("material", "brand", "purpose")
SOURCES = ("what", "seen", "told", "conflicts")
"""Parts of a description that an unsupported value may stand in."""
FUSION = (
    "type_accuracy",
    *(f"{name}_accuracy" for name in PICTURE_ATTRIBUTES),
    "conflict_accuracy",
    "hallucination_rate",
    "copy_accuracy",
)
"""Names of the figures; None without the truth."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """One item, what it truly is, and what the model made of it."""

    item: Item
    truth: ItemTruth
    fused: FusedItem
    fallback: bool

    @property
    def picture(self) -> bool:
        """Whether there is a picture to be read."""
        return self.truth.has_picture


@dataclass(frozen=True, slots=True)
class Fusions:
    """The same items, fused from all they have, and from one half of it."""

    both: Sequence[Fusion]
    text_alone: Sequence[Fusion]
    """As if there were no pictures."""
    picture_alone: Sequence[Fusion]
    """As if there were no texts; the items whose picture was read."""
    unread: int = 0
    """Pictures about which the model said nothing of use."""

    def __add__(self, other: "Fusions") -> "Fusions":
        return Fusions(
            both=[*self.both, *other.both],
            text_alone=[*self.text_alone, *other.text_alone],
            picture_alone=[*self.picture_alone, *other.picture_alone],
            unread=self.unread + other.unread,
        )

    @property
    def fallbacks(self) -> int:
        """Questions of the chain that plain forms stand in for; half items are no part of it."""
        return self.unread + sum(one.fallback for one in self.both)


async def fuse_thrice(
    context: Context, halves: Context, items: Sequence[Item], truths: Mapping[str, ItemTruth]
) -> Fusions:
    """Fuse items through the questions of the node: as they are, and by halves.

    Nothing is written to the store; answers that the ingest got are not asked for again.

    Args:
        context: Asks as the chain does.
        halves: Asks about picture and text alone, which are not counted as the chain's answers.
        items: What to fuse.
        truths: What the items truly are.
    """
    looks = await look_at(context, items)
    bare = [Item(item_id=item.item_id) for item in items if item.item_id in looks]
    return Fusions(
        both=await _fuse(context, items, looks, truths),
        text_alone=await _fuse(halves, items, {}, truths),
        picture_alone=await _fuse(halves, bare, looks, truths),
        unread=sum(item.picture is not None and item.item_id not in looks for item in items),
    )


async def _fuse(
    context: Context,
    items: Sequence[Item],
    looks: Mapping[str, VisualAnswer],
    truths: Mapping[str, ItemTruth],
) -> list[Fusion]:
    replies = await ask(
        context.calls,
        [fuse_question(item, looks.get(item.item_id)) for item in items],
        max_tokens=MAX_TOKENS,
    )
    return [
        Fusion(item, truths[item.item_id], reply.value, reply.fallback)
        for item, reply in zip(items, replies, strict=True)
    ]


def fusion_figures(fusions: Fusions) -> dict[str, Any]:
    """Hold fused descriptions against the truth; see `FUSION` for the headline figures."""
    groups = {
        "agreeing": [one for one in fusions.both if one.picture and not one.truth.contradicts],
        "contradicting": [one for one in fusions.both if one.truth.contradicts],
        "picture_less": [one for one in fusions.both if not one.picture],
        "noisy": [one for one in fusions.both if one.picture and one.truth.noise],
        "bare_text": [one for one in fusions.both if one.truth.bare_text],
    }
    carried = [
        one.fused.told.get(name, "").casefold() == getattr(one.truth, name).casefold()
        for one in fusions.both
        for name in CARRIED
        if getattr(one.truth, name).casefold() in item_text(one.item).casefold()
    ]
    agreeing = attribute_accuracy(groups["agreeing"])
    return {
        **{f"{name}_accuracy": value for name, value in agreeing.items()},
        "conflict_accuracy": _conflicts(groups["contradicting"]),
        "hallucination_rate": hallucinations(fusions.both)["all"],
        "copy_accuracy": share(carried),
        "hallucinations": hallucinations(fusions.both),
        "groups": {name: group_figures(group) for name, group in groups.items()},
        "picture_alone": attribute_accuracy(fusions.picture_alone),
        # The same items, so that the difference is the picture's worth.
        "text_alone": attribute_accuracy([one for one in fusions.text_alone if one.picture]),
        "chance": chance([one.truth for one in fusions.both if one.picture]),
    }


def group_figures(group: Sequence[Fusion]) -> dict[str, Any]:
    """The figures of one kind of items, with how many they are."""
    return {
        "items": len(group),
        **attribute_accuracy(group),
        "conflict_accuracy": _conflicts([one for one in group if one.truth.contradicts]),
        "hallucination_rate": hallucinations(group)["all"],
        "fallbacks": sum(one.fallback for one in group),
    }


def attribute_accuracy(group: Sequence[Fusion]) -> dict[str, float | None]:
    """Share of items whose type, and each attribute of whose picture, is named right."""
    named = {
        name: share(_named(one.fused, name) == getattr(one.truth, name) for one in group)
        for name in PICTURE_ATTRIBUTES
    }
    return {"type": share(one.fused.what == one.truth.what for one in group), **named}


def _named(fused: FusedItem, name: str) -> str | None:
    return fused.seen.get(name) or fused.told.get(name)


def chance(truths: Sequence[ItemTruth]) -> dict[str, float | None]:
    """What always naming the most frequent value would get right."""

    def most(name: str) -> float | None:
        counts = Counter(getattr(truth, name) for truth in truths)
        return max(counts.values()) / len(truths) if counts else None

    return {"type": most("what"), **{name: most(name) for name in PICTURE_ATTRIBUTES}}


def _conflicts(group: Sequence[Fusion]) -> float | None:
    """Share of contradicting items with the picture's colour reported and the conflict stated."""
    return share(
        one.fused.seen.get("colour") == one.truth.colour
        and one.fused.conflicts.get("colour") == one.truth.text_colour
        for one in group
    )


def hallucinations(group: Sequence[Fusion]) -> dict[str, float | None]:
    """Share of the named values that neither picture nor text supports, by where they stand."""
    claims = [
        (source, supported)
        for one in group
        for source, name, value in _claims(one.fused)
        for supported in [_supported(source, name, value, one)]
    ]
    by_source = {
        source: share(not good for where, good in claims if where == source) for source in SOURCES
    }
    return {"all": share(not good for _, good in claims), **by_source}


def _claims(fused: FusedItem) -> Iterable[tuple[str, str, str]]:
    if fused.what != UNKNOWN:
        yield "what", "what", fused.what
    for source in ("seen", "told", "conflicts"):
        for name, value in getattr(fused, source).items():
            yield source, name, value


def _supported(source: str, name: str, value: str, one: Fusion) -> bool:
    """Whether the picture shows a value, or the text says it; a conflict is one of them both."""
    said = value.casefold() in item_text(one.item).casefold()
    shown = one.picture and value == getattr(one.truth, name, None)
    return said and not shown if source == "conflicts" else said or shown


def share(values: Iterable[bool]) -> float | None:
    """Share of those that hold, None of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
