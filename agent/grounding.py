"""No item, price or number in an answer that did not come from a tool."""

import re
from collections.abc import Iterable

_CLAIM = re.compile(
    r"""
    \w*\d(?:[\w.,]*\w)?                    # numbers, prices, ids such as i0042
    | [$€£¥] | \b(?i:dollars?|euros?|bucks|cents?|percent)\b
    | (?<![.!?]\s)(?<!^)\b[A-ZÀ-ÖØ-Þ]\w+   # a capital inside a sentence: a name
    """,
    re.VERBOSE,
)


def claims(text: str) -> set[str]:
    """What a text claims that could be invented: numbers, prices, ids, names."""
    return {match[0].casefold().strip(".,") for match in _CLAIM.finditer(text)}


def invented(text: str, facts: Iterable[str]) -> set[str]:
    """What a text claims that stands nowhere in the facts."""
    known = " ".join(facts)
    words = {*re.findall(r"[\w.,]*\w|[$€£¥]", known), *re.findall(r"\w+", known)}
    return claims(text) - {word.casefold() for word in words}
