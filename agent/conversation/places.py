"""Places in a list, in the words of people."""

import re
from typing import Literal

from mllm_srec.agent.conversation.spoken_numbers import CARDINALS, ORDINALS

_NOUN = "item|product|article|option|pick|choice|suggestion|recommendation|result|entry|position"
_SIGN = re.compile(rf"^(?:(?:{_NOUN}) )?(?:number |(?:no|nr|num|number|numero|n°|№|#) ?(?=\d))?")
_DETERMINERS = re.compile(r"^(?:(?:the|that|this|your|my|very) )+")
_HEAD = re.compile(rf" (?:one|thing|{_NOUN})$")
_OF_THE_LIST = re.compile(
    r" (?:of|on|in|from) (?:them|these|those|it|(?:them )?all|"
    r"(?:the|this|that|your|my) (?:list|screen|lot|bunch|results|\d+|"
    rf"{'|'.join(list(CARDINALS)[2:11])}))$"
)
_FROM_END = re.compile(r"(.+?) (?:(?:to|from) (?:the )?(last|bottom|end|top|start)|last)")
_COURTESY = re.compile(r"(?:^| )(?:please|pls|plz|thanks|thank you|thx)$")
_AT = re.compile(r"one (?:at|in|on) the (top|bottom|middle|end)")

Place = int | Literal["middle", "cheapest", "dearest", "cheaper", "dearer"]
"""A place in a list: from 1, from -1 for the last, or by what it stands between or costs."""
_PLACES: dict[str, Place] = {
    "last": -1, "final": -1, "last but one": -2, "next to last": -2, "penultimate": -2,
    "last but two": -3, "cheapest": "cheapest", "least expensive": "cheapest",
    "dearest": "dearest", "most expensive": "dearest", "priciest": "dearest",
}  # fmt: skip
_PLACES_OF_ONE: dict[str, Place] = {
    "top": 1, "topmost": 1, "bottom": -1, "end": -1, "middle": "middle", "cheap": "cheaper",
    "cheaper": "cheaper", "less expensive": "cheaper", "expensive": "dearer", "dear": "dearer",
    "dearer": "dearer", "more expensive": "dearer", "pricey": "dearer", "pricier": "dearer",
}  # fmt: skip
"""Places only where `one` or `of the list` is said: `the top` may be a garment."""
_POINTERS = {"it", "this", "that", "these", "those", "them", "him", "her", "one"}
_FILLING = {"the", "ones", "item", "thing", "option"}


def place(text: str) -> Place | None:
    """The place in a list that some words name; None where they name none."""
    words = _DETERMINERS.sub("", _plain(text))
    core = _OF_THE_LIST.sub("", words)
    # `Two of them` is how many.
    if core != words and (core in CARDINALS or core.isdecimal()):
        return None
    if (found := _place(core)) is not None:
        return found
    if core != words and core in _PLACES_OF_ONE:
        return _PLACES_OF_ONE[core]
    if at := _AT.fullmatch(core):
        return _PLACES_OF_ONE[at[1]]
    if (one := _HEAD.sub("", core)) != core:
        return _place(one) or _PLACES_OF_ONE.get(one)
    return None


def _place(words: str) -> Place | None:
    bare = _SIGN.sub("", words)
    if digits := re.fullmatch(r"(\d+)(?:st|nd|rd|th)?", bare):
        return int(digits[1])
    if bare in ORDINALS:
        return ORDINALS[bare]
    # `One` alone is what was spoken of.
    if bare in CARDINALS and (bare != words or CARDINALS[bare] > 1):
        return CARDINALS[bare]
    if (end := _FROM_END.fullmatch(words)) and isinstance(
        number := _place(_HEAD.sub("", end[1])), int
    ):
        return number if end[2] in ("top", "start") else -number
    return _PLACES.get(words)


def points_at(text: str) -> bool:
    """Whether some words are nothing but one place of a list: `the second one`, `the cheapest`."""
    return place(text) not in (None, "cheaper", "dearer")


def points_back(text: str) -> bool:
    """Whether some words mean what was spoken of last: `it`, `that one`, or nothing at all."""
    if place(text) is not None:
        return False
    return set(_plain(text).split()) <= _POINTERS | _FILLING


def _plain(text: str) -> str:
    """The words alone, without the `please` after them."""
    words = " ".join(re.sub(r"[.,;:!?\"“”'()\[\]-]", " ", text.casefold()).split())
    return _COURTESY.sub("", words)
