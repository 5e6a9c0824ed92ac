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
_STRAY = re.compile(r" (?:to|into|from|off|in|on|for|with|and|or|costs?)$")
"""What may stand behind a place and be marked with it: `add the second to my history`."""
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
_RELATIVE = re.compile(
    r"\b(?:(?:any|every|some|no)?things?|stuff|ones?|items?|products?) that (?!one\b)\w"
)
"""`That` as the beginning of a clause: `things that cost less`."""


def place(text: str) -> Place | None:
    """The place in a list that some words name; None where they name none."""
    words = _DETERMINERS.sub("", _STRAY.sub("", _plain(text)))
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
    words = _plain(text)
    return words != "the" and set(words.split()) <= _POINTERS | _FILLING


def astray(span: str, said: str) -> bool:
    """Whether a span that names no item was hardly meant for what was spoken of last.

    An article alone; the `that` of `things that cost less`; a pointer out of a message that names a
    place of the list besides: `that are cheaper than the second`.
    """
    words, message = _plain(span), _plain(said)
    if words == "the":
        return True
    if not words or not points_back(span):
        return False
    return (words == "that" and bool(_RELATIVE.search(message))) or _names_place(message)


def _names_place(message: str) -> bool:
    """Whether `the second`, `number 4` or `the one at the top` stands in a message.

    `The first birthday` is none: a place ends the message, or the part of it.
    """
    words = message.split()
    return any(
        points_at(" ".join(words[start:stop]))
        for start, word in enumerate(words)
        if word in ("the", "number")
        for stop in range(start + 2, start + 7)
        if words[stop : stop + 1] in ([], ["and"], ["but"], ["or"])
    )


def _plain(text: str) -> str:
    """The words alone, without the `please` after them."""
    words = " ".join(re.sub(r"[.,;:!?\"“”'()\[\]-]", " ", text.casefold()).split())
    return _COURTESY.sub("", words)
