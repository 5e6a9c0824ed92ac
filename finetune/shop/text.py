"""Titles and descriptions of drawn items, from a grammar with many phrasings.

The text tells brand, material, purpose and whom the item suits. It never names what the picture is
there to show, but for the exceptions `ItemTruth` marks.
"""

import random
import re
from dataclasses import dataclass

from mllm_srec.finetune.shop.vocabulary import (
    COLOURS,
    MATERIAL_POOL,
    PATTERNS,
    PURPOSE_SEASONS,
    STYLES,
    SUITS,
    TYPES,
    ItemTruth,
)

_LINES = (
    "Aurora", "Luma", "Vela", "Nova", "Orbit", "Tango", "Willow", "Juno", "Atlas", "Milo", "Echo",
    "Coda", "Delta", "Pico", "Sierra", "Fjord", "Maple", "Ember", "Comet", "Lotus", "Harbour",
    "Meadow", "Pebble", "Breeze", "Summit", "Clover", "Mistral", "Velo", "Saga", "Rondo",
)  # fmt: skip
"""Names of product lines, drawn item by item: they say nothing."""

_TITLES = (
    "{line}", "{line} {number}", "{line} No. {digit}", "{line} II", "{line} Plus", "{line} edition",
    "{line} {number}, new", "{line} (new)", "{line} series {digit}", "{line} ({number})",
    "{line} model {digit}", "{line} & {other}", "{line} - {other}",
)  # fmt: skip
_TITLE_PARTS: dict[str, tuple[str, ...]] = {
    "material": ("{title}, {value}", "{title} in {value}", "{value} {title}", "{title} ({value})",
                 "{title} - {value}", "{title} with {value}"),
    "purpose": ("{title} for {value}", "{title}, {value}", "{title} - {value}", "{value} {title}",
                "{title} ({value})", "{title} | {value}"),
    "suits": ("{title}, {value}", "{title} - {value}", "{title} | {value}", "{title} ({value})",
              "{title} / {value}"),
    "brand": ("{value} {title}", "{title} by {value}", "{title} - {value}", "{title} from {value}",
              "{value}: {title}", "{title}, {value}"),
    "what": ("{title} {value}", "{value} {title}", "{title}, {value}", "{title}: a {value}",
             "{value} - {title}"),
    "colour": ("{title}, {value}", "{title} in {value}", "{title} ({value})", "{value} {title}",
               "{title} - {value}"),
}  # fmt: skip

_SENTENCES: dict[str, tuple[str, ...]] = {
    "material": (
        "Made with {value}.", "Details of {value}.", "Finished with {value}.", "Contains {value}.",
        "Main material: {value}.", "We chose {value} for it.", "You will like the feel of {value}.",
        "Trimmed with {value}.", "Parts of {value} make it last.", "Material: {value}.",
        "Good {value} from a small mill.", "The makers trust in {value}.", "Lined with {value}.",
        "What you touch is {value}.", "With {value} from certified sources.",
        "The {value} is easy to care for.", "Crafted from {value} and patience.",
    ),
    "purpose": (
        "Meant for {value}.", "Just right for {value}.", "For {value} and what comes after.",
        "Think of {value}.", "Made with {value} in mind.", "Our tip for {value}.",
        "Nothing better for {value}.", "Use: {value}.", "Best used for {value}.",
        "Customers buy it for {value}.", "Ready for {value}.", "A friend for {value}.",
        "Part of our {value} collection.", "Occasion: {value}.", "Take it along for {value}.",
        "You will want it for {value}.",
    ),
    "brand": (
        "From {value}.", "By {value}.", "{value} quality.", "Brand: {value}.", "Made by {value}.",
        "{value} has made it for ten years.", "Designed at {value}.", "A {value} original.",
        "Another success of {value}.", "You know {value}.", "The house of {value} stands for it.",
    ),
    "what": (
        "A {value} for years to come.", "This {value} is ready to ship.", "Sold as {value}.",
        "What you get: one {value}.", "The {value} you were looking for.", "Type: {value}.",
        "One {value}, well packed.",
    ),
    "colour": (
        "Colour: {value}.", "The {value} version.", "Comes in {value}.", "This one is {value}.",
        "In lovely {value}.", "You order it in {value}.", "Shade: {value}.", "It is {value}.",
        "Delivered in {value}.", "A fine {value} tone.",
    ),
}  # fmt: skip
_SUITS: dict[str, tuple[str, ...]] = {
    "baby": (
        "Age group: {value}.", "Fits a {value}.", "For your {value}.", "Every {value} loves it.",
        "Safe for a {value}.", "Tested with more than one {value}.", "Age: {value}.",
        "Your {value} will ask for it.", "Suits a {value}.",
    ),
    "sports": (
        "Sport: {value}.", "Loved by {value} fans.", "For friends of {value}.", "Suits {value}.",
        "At home in {value}.", "Tested by a {value} club.", "A must for {value} people.",
        "Goes well with {value}.", "Known from {value}.",
    ),
    "beauty": (
        "Skin type: {value}.", "For {value} skin.", "Kind to {value} skin.", "Skin: {value}.",
        "Made for skin that is {value}.", "Suits {value} skin.", "Tested on {value} skin.",
        "Does {value} skin good.", "If your skin is {value}, take this.",
    ),
    "toys": (
        "Trains {value}.", "Good for {value}.", "Builds {value} step by step.", "Skill: {value}.",
        "Helps with {value}.", "Supports {value}.", "Learn {value} with it.",
        "Teachers like it for {value}.", "Suits {value} practice.",
    ),
}  # fmt: skip
_PAIRS = (
    (("material", "purpose"), "Made with {material}, for {purpose}."),
    (("material", "purpose"), "{material} that is up to {purpose}."),
    (("material", "purpose"), "Whether {purpose} or not: {material} pays off."),
    (("purpose", "material"), "For {purpose} we use {material}."),
    (("brand", "material"), "{brand} works with {material}."),
    (("brand", "purpose"), "{brand} thinks of {purpose}."),
    (("material", "suits"), "{material}; {suits}."),
    (("purpose", "suits"), "{purpose} / {suits}."),
    (("brand", "material"), "{brand} and {material}: a good match."),
)
"""Sentences that tell two things at once."""

_FILLERS = (
    "Free returns.", "Ships within two days.", "Packed without waste.", "New in the shop.",
    "A favourite of our team.", "Two years of guarantee.", "Small batch.", "Easy to clean.",
    "Only a few left.", "Tested by hand.", "Award nominee.", "Makes a good present.",
    "Light and handy.", "No tools needed.", "Instructions included.", "You save space.",
)  # fmt: skip
_BARE = (
    "Art. {number}",
    "SKU {number}-{digit}",
    "Item {number}",
    "{number}",
    "",
    "Lot {number}",
    "",
)

_HIDDEN = frozenset((*sum(TYPES.values(), ()), *COLOURS, *PATTERNS, *STYLES))
_TOLD = frozenset((*MATERIAL_POOL, *PURPOSE_SEASONS, *sum(SUITS.values(), ())))


@dataclass(frozen=True, slots=True)
class ItemText:
    """What the catalogue says of an item, apart from department and price."""

    title: str
    brand: str
    """The brand column; empty where the text names the brand."""
    description: str
    keywords: str

    @property
    def words(self) -> frozenset[str]:
        """All words in lower case."""
        whole = f"{self.title} {self.brand} {self.description} {self.keywords}"
        return frozenset(re.findall(r"[a-z]+", whole.lower()))


def write_text(truth: ItemTruth, seed: int) -> ItemText:
    """Write the text of an item; the same seed gives the same words."""
    rng = random.Random(f"text {seed} {truth.item_id}")
    if truth.bare_text:
        title = rng.choice(_BARE).format(number=rng.randrange(10_000, 99_999), digit=_digit(rng))
        return ItemText(title, "", "", "")
    told = {"material": truth.material, "purpose": truth.purpose, "suits": truth.suits}
    column = rng.random() < 0.7
    if not column or rng.random() < 0.2:
        told["brand"] = truth.brand
    if not truth.has_picture:
        told["what"] = truth.what
    if truth.text_colour is not None:
        told["colour"] = truth.text_colour
    title, left = _title(told, rng)
    keywords = ""
    if rng.random() < 0.2:
        named = rng.sample(["material", "purpose"], k=rng.randint(1, 2))
        keywords = ", ".join(told[name] for name in named)
        left = [name for name in left if name not in named or rng.random() < 0.5]
    description = _description(told, left, truth.department, rng)
    text = ItemText(title, truth.brand if column else "", description, keywords)
    check_text(truth, text)
    return text


def check_text(truth: ItemTruth, text: ItemText) -> None:
    """Hold the rule of the shop: text and picture each keep their own secrets.

    Raises:
        AssertionError: The text names a value it must not name, or lacks one it must tell.
    """
    hidden: set[str] = set()
    if not truth.has_picture:
        hidden.add(truth.what)
    if truth.text_colour is not None:
        hidden.add(truth.text_colour)
    told = set() if truth.bare_text else {truth.material, truth.purpose, truth.suits}
    assert text.words & _HIDDEN == hidden, f"{truth.item_id!r} names {text.words & _HIDDEN!r}"
    assert text.words & _TOLD == told, f"{truth.item_id!r} tells {text.words & _TOLD!r}"
    assert (truth.brand.lower() in text.words) is not truth.bare_text, f"{truth.item_id!r}: brand"


def _title(told: dict[str, str], rng: random.Random) -> tuple[str, list[str]]:
    """Write a title; return it and the names of what it left to the description."""
    line, other = rng.sample(_LINES, k=2)
    title = rng.choice(_TITLES).format(
        line=line,
        other=other,
        number=rng.randrange(100, 999),
        digit=_digit(rng),
    )
    chances = {"brand": 0.6, "what": 0.6, "colour": 0.4}
    named = [name for name in told if rng.random() < chances.get(name, 0.3)][:3]
    rng.shuffle(named)
    for name in named:
        title = rng.choice(_TITLE_PARTS[name]).format(title=title, value=told[name])
    # Most of what the title names is not said again.
    left = [name for name in told if name not in named or rng.random() < 0.15]
    return title[:1].upper() + title[1:], left


def _description(told: dict[str, str], left: list[str], department: str, rng: random.Random) -> str:
    """Write the sentences for what the title left, in any order, with a filler at times."""
    left = list(left)
    sentences = []
    pairs = [pair for names, pair in _PAIRS if set(names) <= set(left)]
    if pairs and rng.random() < 0.35:
        pair = rng.choice(pairs)
        left = [name for name in left if f"{{{name}}}" not in pair]
        sentences.append(pair.format(**told))
    for name in left:
        choices = _SUITS[department] if name == "suits" else _SENTENCES[name]
        sentences.append(rng.choice(choices).format(value=told[name]))
    if rng.random() < 0.4:
        sentences.append(rng.choice(_FILLERS))
    rng.shuffle(sentences)
    return " ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences)


def _digit(rng: random.Random) -> int:
    return rng.randint(2, 9)
