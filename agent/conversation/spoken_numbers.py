"""Numbers and prices in the words of people.

What can be read in two ways is given in both: whoever acts on it asks back.
"""

import re
from collections.abc import Sequence

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_NTHS = (
    "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth",
    "seventeenth", "eighteenth", "nineteenth",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def _below_hundred(small: Sequence[str], tens: Sequence[str]) -> dict[str, int]:
    words = {word: number for number, word in enumerate(small)}
    for ten, (before, alone) in enumerate(zip(_TENS, tens, strict=True), 2):
        words[alone] = ten * 10
        words |= {f"{before} {small[one]}": ten * 10 + one for one in range(1, 10)}
    return words


CARDINALS = _below_hundred(_ONES, _TENS)
"""Numbers below a hundred by their words."""
ORDINALS = _below_hundred(_NTHS, [f"{ten[:-1]}ieth" for ten in _TENS])
"""Places below a hundred by their words."""
_COUNTS = {"couple": 2, "pair": 2, "few": 3, "handful": 5, **CARDINALS}
_SCALES = (
    # Each with its factor, and how many digits may follow: `two hundred and five`.
    ("fivers?", 5, 0), ("tenners?", 10, 0), ("dozen", 12, 0),
    ("hundred", 100, 2), ("thousand|grand|k", 1000, 3), ("million", 1_000_000, 6),
)  # fmt: skip
_SCALE = "|".join(words for words, *_ in _SCALES)
_MONEY = "dollars?|usd|bucks?|euros?|eur|pounds?|gbp|quid|francs?|chf"
_CENTS = r" ?(?:¢|(?:cents?|ct|c|penny|pence|p)\b)"
_N = r"(\d+(?:\.\d+)?)"
_WRITTEN = re.compile(
    r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d\d?)?(?![\d.,]*\d)|\d+(?:[.,'\u2019]\d+)*"
)
_SPOKEN = re.compile(rf"\b(?:{'|'.join(sorted(_COUNTS, key=len, reverse=True))})\b")
_COUNTING = (
    "just", "only", "exactly", "another", "single", "most", "than", "me", "around", "about", "or",
    "to", "and", "ty", "hundred", "thousand",
)  # fmt: skip
"""Behind these `one` is a number."""
_PRONOUN = re.compile(
    "(?<!^)"
    + "".join(f"(?<!{word} )" for word in _COUNTING)
    + rf"\bone\b(?! (?:{_SCALE}|{_MONEY}|point|{'|'.join(CARDINALS)}|\d+)\b)"
)
"""`One` that is no number: `the red one`, `a cheaper one`."""
_TWO_WAYS = re.compile(rf"(?<![\d.])([1-9]\d?) ([1-9]\d)(?![\d.])|{_N}")


def numbers(text: str) -> tuple[float, ...]:
    """The numbers that some words say: `15.50`, `twenty five`, `half a dozen`, `a tenner`.

    None where they say none. Several where they say several, or one that is read in two ways:
    `twelve fifty` is 12.50 or 1250.
    """
    found: list[float] = []
    for ones, cents, whole in _TWO_WAYS.findall(_in_digits(text)):
        found += [float(whole)] if whole else [float(f"{ones}.{cents}"), float(ones + cents)]
    return tuple(dict.fromkeys(found))


def _in_digits(text: str) -> str:
    """The words with each number in plain digits."""
    text = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.casefold()).replace("fourty", "forty")
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)
    if text in ("a", "an"):
        return "1"
    text = _WRITTEN.sub(lambda match: _plain(match[0]), text)
    text = _PRONOUN.sub("this", text)
    text = _SPOKEN.sub(lambda match: str(_COUNTS[match[0]]), text)
    text = re.sub(r"\b(\d+) point (\d+)\b", r"\1.\2", text)
    text = re.sub(r"\b(\d+) and a half\b", r"\1.5", text)
    text = re.sub(rf"\bhalf (?:an? )?(?=(?:{_SCALE})\b)", "0.5 ", text)
    text = re.sub(rf"\ban? ((?:{_SCALE})) and a half\b", r"1.5 \1", text)
    text = re.sub(rf"\b(?:an?|of) (?=(?:\d|(?:{_SCALE})\b))", "", text)
    text = re.sub(rf"\ban? (?=(?:{_MONEY})\b)", "1 ", text)
    for words, factor, digits in _SCALES:
        text = _scaled(text, words, factor, digits)
    return _with_cents(text)


def _scaled(text: str, words: str, factor: int, digits: int) -> str:
    rest = rf"(?: (?:and )?(\d{{1,{digits}}})(?![\d.]))?" if digits else "()"
    # A `k` alone is an okay.
    pattern = rf"(?:{_N} ?|(?<![^\W_])(?!k))(?:{words})\b{rest}"

    def multiplied(match: re.Match[str]) -> str:
        many, more = match.groups()
        return f"{float(many or 1) * factor + int(more or 0):.2f}".removesuffix(".00")

    return re.sub(pattern, multiplied, text)


def _with_cents(text: str) -> str:
    """`5 dollars and 10 cents`, `5€50`, `5 bucks 50` and `99p` as 5.10, 5.50, 5.50 and 0.99."""

    def joined(match: re.Match[str]) -> str:
        return f"{match[1]}.{int(match[2]):02}"

    money = rf"(?:[$€£¥]| ?(?:{_MONEY})\b)"
    text = re.sub(rf"\b(\d+){money} ?(?:and )?(\d\d?){_CENTS}", joined, text)
    text = re.sub(rf"\b(\d+){money} ?(\d\d)(?![\d.]|{money})", joined, text)
    return re.sub(rf"(?<![\d.])(\d+){_CENTS}", lambda match: f"{int(match[1]) / 100:.2f}", text)


def _plain(text: str) -> str:
    """Digits as written in either way: `1,299.50`, `12,50`, `1.000`, `0.125`, `1 000`."""
    *groups, last = re.split(r"[^\d]", text)
    if groups and (len(last) != 3 or not groups[0].strip("0")):
        return f"{''.join(groups)}.{last}"
    return "".join((*groups, last))
