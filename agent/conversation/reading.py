"""Reading what people say: numbers, prices, places in a list."""

import re

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
)  # fmt: skip
NUMBERS = {
    **{word: number for number, word in enumerate(_ONES)},
    **{word: number * 10 for number, word in enumerate(_TENS, 2)},
    "a": 1, "an": 1, "couple": 2, "pair": 2, "few": 3, "handful": 5, "dozen": 12,
}  # fmt: skip
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_PLACE = re.compile(r"(?:#|no\.?|nr\.?|number|item)?\s*(\d+)\s*(?:st|nd|rd|th)?")
_FILLING = {"the", "one", "ones", "item", "thing", "number", "option"}
POINTERS = {"it", "this", "that", "these", "those", "them", "him", "her", "one"}
"""Words that mean the item spoken of last."""


def number(text: str) -> float | None:
    """The number that some words say: `15.50`, `twenty five`, `two hundred`; None for none."""
    if found := _DIGITS.search(text):
        return _digits(found[0])
    total, current, seen = 0, 0, False
    words = re.findall(r"[a-z]+", text.casefold())
    # `a few` is not four.
    articles = {"a", "an"} if any(NUMBERS.get(w, 0) > 1 or w == "hundred" for w in words) else set()
    for word in words:
        if word == "hundred":
            current, seen = max(current, 1) * 100, True
        elif word == "thousand":
            total, current, seen = total + max(current, 1) * 1000, 0, True
        elif word in NUMBERS and word not in articles:
            current, seen = current + NUMBERS[word], True
    return float(total + current) if seen else None


def place(text: str) -> int | None:
    """A place in a list, from 1, or -1 for the last; None where the words name no place."""
    words = text.casefold().strip(" .!?")
    if found := _PLACE.fullmatch(words.removeprefix("the ").removesuffix(" one").strip()):
        return int(found[1])
    rest = [word for word in words.split() if word not in _FILLING] or words.split()
    if len(rest) != 1:
        return None
    [word] = rest
    if word == "last":
        return -1
    if word in _ORDINALS:
        return _ORDINALS.index(word) + 1
    return NUMBERS.get(word) if word in _ONES[1:11] and word != "one" else None


def points_back(text: str) -> bool:
    """Whether some words mean what was spoken of last: `it`, `that one`, or nothing at all."""
    return set(text.casefold().strip(" .!?").split()) <= POINTERS | _FILLING


def _digits(text: str) -> float:
    """Digits as written in either way: `1,299.50`, `12,50`, `1.000`."""
    *groups, last = re.split(r"[.,]", text)
    if groups and len(last) != 3:
        return float(f"{''.join(groups)}.{last}")
    return float("".join((*groups, last)))
