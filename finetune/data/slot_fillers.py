"""Words for the slots of a message: those of the drawn shops, many more, and invented ones."""

import random
from collections.abc import Callable, Sequence

import numpy as np

from mllm_srec.finetune.data.phrasings import phrasings
from mllm_srec.finetune.data.slot_words import plural, slot_words, with_article
from mllm_srec.finetune.data.spoken import slip
from mllm_srec.finetune.shop.vocabulary import (
    COLOURS,
    DEPARTMENTS,
    MATERIAL_POOL,
    PATTERNS,
    PRICE_BANDS,
    PURPOSE_SEASONS,
    STYLES,
    SUITS,
    TYPES,
    brands,
)

INVENTED = 0.25
"""Share of values, titles and words that no shop has: a slot is copied, never known by heart."""
MISSPELT = 0.08

_LINES = (
    "Maple", "Comet", "Atlas", "Luma", "Fjord", "Rondo", "Velo", "Saga", "Pebble", "Orbit",
    "Little Fox", "Sunny Day", "Cloud Nine", "Nova", "Willow", "Kodiak", "Tiny Steps", "Aurora",
    "Wild Thing", "Zephyr", "Happy Hippo", "Moonlight", "Bella", "Titan", "Mr Bear", "Oslo",
)  # fmt: skip
_EDITIONS = ("Pro", "XL", "Mini", "Deluxe", "Classic Edition", "Junior", "2.0", "Set", "Plus")
_OWN = 0.45
"""Of what is not invented, the share of the words of the drawn shops."""
QUOTED = 0.02
"""Share of the items, values and words that stand in quotation marks."""
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "hjklhj", "fghjdk")
_HEADS = ("br", "cl", "d", "fl", "g", "k", "m", "pl", "s", "st", "t", "v")
_VOWELS = ("a", "e", "i", "o", "u", "oo", "ea")
_TAILS = ("ck", "ll", "m", "nd", "p", "rt", "x", "")
_LOOKS = ("colours", "patterns", "styles", "materials")
_TRAITS = ("attributes", "attributes", "attributes", "graded")


class Filler:
    """Draws the words of slots."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        wide = self._wide = slot_words()
        self._brands = brands(np.random.default_rng(7), 40)
        self._purposes = (*PURPOSE_SEASONS, *SUITS["baby"], *SUITS["sports"])
        self._values = (
            *COLOURS, *PATTERNS, *STYLES, *PRICE_BANDS, *MATERIAL_POOL, *PURPOSE_SEASONS,
            *sum(SUITS.values(), ()), *self._brands,
        )  # fmt: skip
        self._looks = (*COLOURS, *PATTERNS, *STYLES, *MATERIAL_POOL, *self._brands)
        self._types = sum(TYPES.values(), ())
        self._departments = (*DEPARTMENTS, *DEPARTMENTS)
        self._things = phrasings().drawn["thing"]
        self._slots: dict[str, Callable[[], str]] = {
            "k": self._count,
            "having": self._value_or_kind,
            "without": self._unwanted,
            "value": self._value,
            "no_value": self._unwanted_value,
            "known": lambda: self._own_or_wide(self._looks, *_LOOKS),
            "material": lambda: self._or_invented(MATERIAL_POOL, "materials"),
            "purpose": self._purpose,
            "kinds": lambda: self._kind(several=True),
            "dept": lambda: self._own_or_wide(self._departments, "departments"),
            "goods": lambda: rng.choice(("toys", "toys", "toys", "books", "clothes", "games")),
            "under": self._price,
            "over": self._price,
            "under_word": lambda: rng.choice(wide["cheaper"]),
            "over_word": lambda: rng.choice(wide["dearer"]),
            "item": self._item,
            "second": self._item,
            "owned": self._owned,
            "words": self._words,
            "products": lambda: self._products(self._kind(several=True)),
            "name": lambda: rng.choice(wide["names"]),
            "junk": lambda: rng.choice(wide["junk"]),
            "gibberish": self._gibberish,
        }

    def __call__(self, slot: str) -> str:
        """Words for a slot, some in lower case, some misspelt."""
        words = self._slots[slot]()
        if self.rng.random() < 0.6:
            words = words.lower()
        return slip(words, self.rng) if self.rng.random() < MISSPELT else words

    def around(self, field: str, words: str, after: str) -> str:
        """What stands around the words of a slot and is not copied: quotation marks, an `of`."""
        if field == "k" and words.casefold() in self._wide["counted"]:
            counts = after.startswith(" {") or after.lstrip().startswith(self._things)
            return "{} of" if counts and self.rng.random() < 0.6 else "{}"
        if field in ("item", "second", "words", "having") and self.rng.random() < QUOTED:
            return self.rng.choice(('"{}"', '"{}"', "'{}'", "\u201c{}\u201d", "*{}*", "({})"))
        return "{}"

    def _count(self) -> str:
        rng = self.rng
        if rng.random() < 0.5:
            return str(rng.choice((rng.randint(1, 15), rng.randint(1, 6), rng.randint(1, 100))))
        return rng.choice(self._wide["counts"])

    def _value(self) -> str:
        rng = self.rng
        if rng.random() < 0.04:
            return f"{rng.choice(self._wide['grades'])} {rng.choice(self._wide['graded'])}"
        return self._or_invented(self._values, *_LOOKS, *_LOOKS, *_TRAITS, "themes", "brands")

    def _value_or_kind(self) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.25:
            return self._kind(several=rng.random() < 0.65)
        if kind < 0.4:
            return rng.choice(self._wide[rng.choice(("themes", "themes", "parts"))])
        return self._purpose() if kind < 0.44 else self._value()

    def _unwanted(self) -> str:
        return self._part() if self.rng.random() < 0.2 else self._value_or_kind()

    def _unwanted_value(self) -> str:
        return self._part() if self.rng.random() < 0.2 else self._value()

    def _part(self) -> str:
        return self.rng.choice(self._wide["parts"])

    def _with(self) -> str:
        return self._or_invented(PATTERNS, "parts", "parts", "themes", "themes", "patterns")

    def _purpose(self) -> str:
        return self._or_invented(self._purposes, "occasions", "recipients", "uses")

    def _kind(self, *, several: bool) -> str:
        """A product, or several of it; `headphones` and `shampoo` are the same for both."""
        rng = self.rng
        kind = rng.random()
        if kind < INVENTED:
            noun = self._invented()
            if rng.random() < 0.2:
                noun += f" {rng.choice(self._wide['products']).split()[-1]}"
        elif rng.random() < _OWN:
            noun = rng.choice(self._types)
        else:
            name = rng.choices(("products", "pairs", "stuff"), (7, 1.5, 1.5))[0]
            noun = rng.choice(self._wide[name])
            if name != "products":
                return noun
        return plural(noun) if several else noun

    def _price(self) -> str:
        rng, wide = self.rng, self._wide
        amount = rng.choice((5, 8, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 75, 100, 150, 200))
        if rng.random() < 0.1:
            amount = rng.randint(1, 999)
        said = rng.choice(wide["amounts"]) if rng.random() < 0.25 else f"{amount}"
        kind = rng.random()
        if kind < 0.06:
            return rng.choice(wide["whole_prices"])
        if kind < 0.34:
            return said
        if kind < 0.64:
            return f"{said} {rng.choice(wide['currencies'])}"
        return rng.choice(
            (
                f"${amount}", f"${amount}", f"{amount}$", f"{amount}€", f"€{amount}", f"£{amount}",
                f"{amount} €", f"₹{amount}", f"Rs {amount}", f"rs. {amount}", f"EUR {amount}",
                f"USD {amount}", f"{amount}eur", f"{amount}.50", f"{amount},50", f"{amount},50 €",
                f"{amount - 0.01:.2f}", f"${amount - 0.01:.2f}", f"£{amount - 0.01:.2f}",
                f"{amount},99", f"${amount}.00", f"1,{amount + 100}" if amount < 900 else "1.000",
            )
        )  # fmt: skip

    def _item(self) -> str:
        rng, wide = self.rng, self._wide
        kind = rng.random()
        if kind < 0.4:
            return self._place()
        if kind < 0.49:
            return rng.choice(wide["places"])
        if kind < 0.58:
            return rng.choice(wide["pointers"])
        return self._described() if kind < 0.8 else self._title()

    def _place(self) -> str:
        rng = self.rng
        place, ordinal = rng.randint(1, 10), rng.choice(self._wide["ordinals"])
        if rng.random() < 0.25:
            return f"{place}"
        said = rng.choice(self._wide["counts"][:10]) if rng.random() < 0.3 else f"{place}"
        return rng.choice(
            (
                f"#{place}", f"number {said}", f"number {said}", f"no. {place}", f"no {place}",
                f"nr {place}", f"nr. {place}", f"item {said}", f"option {said}", f"num {place}",
                f"the number {said}", f"the {ordinal}", f"the {ordinal}", f"the {ordinal} one",
                f"the {ordinal} one", f"that {ordinal} one", f"the {ordinal} item",
                f"{ordinal} one", f"your {ordinal} pick", f"item no. {place}", f"item #{place}",
            )
        )  # fmt: skip

    def _described(self) -> str:
        """An item by its looks: `that green one`, `the wooden train with wheels`."""
        rng = self.rng
        colour = self._own_or_wide(COLOURS, "colours")
        what = self._kind(several=False) if rng.random() < 0.9 else "thing"
        this, that = ("these", "those") if what in self._wide["pairs"] else ("this", "that")
        brand = rng.choice((*self._brands, *self._wide["brands"]))
        return rng.choice(
            (
                f"the {colour} {what}", f"the {colour} {what}", f"the {colour} one", f"the {what}",
                f"the {what}", f"the {self._value()} one", f"the {self._value()} {what}",
                f"that {colour} one", f"{that} {what}", f"{this} {what}", f"{this} {colour} {what}",
                f"the {colour} thing", f"the {what} with {self._part()}", f"the {brand} one",
                f"the one with {self._part()}", f"the one for {self._purpose()}",
                f"the one from {brand}", f"the one made of {rng.choice(MATERIAL_POOL)}",
                f"the ${rng.randint(2, 99)} one", f"those {self._kind(several=True)}",
                f"the one with {rng.choice(self._wide['themes'])}",
                f"the {self._kind(several=True)}",
            )
        )  # fmt: skip

    def _title(self) -> str:
        rng = self.rng
        line = self._invented().title() if rng.random() < INVENTED else rng.choice(_LINES)
        number, brand = rng.randint(1, 29), rng.choice(self._brands)
        what = self._kind(several=False)
        value = rng.choice(self._values)
        return rng.choice(
            (
                f"{line} No. {number}", f"{brand} {line}", f"{line} {what}", f"{line} {number}",
                f"the {line} {what}", f"i{number:04d}", f"{line} & {rng.choice(_LINES)}",
                f"the {brand} {what}", f"{line}", f"the {line}", f"{brand} {value} {what}".title(),
                f"{line} {rng.choice(_EDITIONS)}", f"{line} {what} {rng.choice(_EDITIONS)}".title(),
                f"{line}-{number}", f"B0{rng.randrange(16**6):06X}{number:02d}",
            )
        )  # fmt: skip

    def _owned(self) -> str:
        """What somebody says to have: an item of the list, or any thing."""
        rng = self.rng
        if rng.random() < 0.6:
            return self._item()
        several = rng.random() < 0.35
        kind = self._kind(several=several)
        words = self._products(kind)
        if kind in self._wide["stuff"]:
            return f"{rng.choice(('some', 'the', 'that', 'my'))} {words}"
        if several or kind in self._wide["pairs"]:
            return f"{rng.choice(('some', 'the', 'those', 'these', 'my'))} {words}"
        one = with_article(words)
        return rng.choice((one, one, f"the {words}", f"that {words}", f"my {words}"))

    def _words(self) -> str:
        rng = self.rng
        if rng.random() < 0.4:
            return self._products(self._kind(several=True))
        kind = self._kind(several=False)
        words = self._products(kind)
        one = kind not in self._wide["pairs"] and kind not in self._wide["stuff"]
        return with_article(words) if one and rng.random() < 0.35 else words

    def _products(self, what: str) -> str:
        rng = self.rng
        value, other = self._value(), self._value()
        brand = rng.choice((*self._brands, *self._wide["brands"]))
        words = rng.choice(
            (
                what, what, what, f"{value} {what}", f"{value} {what}", f"{value} {other} {what}",
                f"{what} for {self._purpose()}", f"{value} {what} for {self._purpose()}",
                f"{what} with {self._with()}", f"{what} with {self._with()}", f"{brand} {what}",
                f"{what} made of {self._or_invented(MATERIAL_POOL, 'materials')}",
                f"{what} in {self._own_or_wide(COLOURS, 'colours')}", f"{what} by {brand}",
                f"{rng.choice(self._wide['sizes'])} {what}",
            )
        )  # fmt: skip
        return words if len(words) <= 64 else what

    def _gibberish(self) -> str:
        rng = self.rng
        if rng.random() < 0.6:
            return rng.choice(self._wide["gibberish"])
        row = rng.choice(_ROWS)
        return "".join(rng.choice(row) for _ in range(rng.randint(3, 9)))

    def _or_invented(self, own: Sequence[str], *wide: str) -> str:
        return self._invented() if self.rng.random() < INVENTED else self._own_or_wide(own, *wide)

    def _own_or_wide(self, own: Sequence[str], *wide: str) -> str:
        """A word of the drawn shops, or one of the wide lists of these names."""
        rng = self.rng
        return rng.choice(own if rng.random() < _OWN else self._wide[rng.choice(wide)])

    def _invented(self) -> str:
        """A word that no shop has."""
        choice = self.rng.choice
        word = ""
        while len(word) < 4:
            heads = (
                choice(_HEADS) + choice(_VOWELS) + choice(_TAILS) for _ in range(choice((1, 2)))
            )
            word = "".join(heads) + choice(("", "", "y", "er"))
        return word
