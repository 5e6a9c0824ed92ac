"""A message as the model reads it: in small letters, shorthand written out; and the way back.

To a model that reads pieces of words `Please`, `pls` and `pleaseee` are three things, and a small
one has not seen them all. What it copies is given back as it was typed.
"""

import re
from dataclasses import dataclass
from typing import Self

_SHORTHAND = {
    "abt": "about", "alot": "a lot", "b4": "before", "bday": "birthday", "btw": "by the way",
    "cud": "could", "cuz": "because", "dat": "that", "dem": "them", "dunno": "don't know",
    "em": "them", "fave": "favourite", "gimme": "give me", "gonna": "going to", "gotta": "got to",
    "gr8": "great", "gud": "good", "h8": "hate", "halp": "help", "hav": "have",
    "idk": "i don't know", "jus": "just", "kinda": "kind of", "lemme": "let me",
    "lookin": "looking", "luv": "love", "moar": "more", "nothin": "nothing", "nvm": "never mind",
    "nvr": "never", "pic": "picture", "pics": "pictures", "pls": "please", "plz": "please",
    "ppl": "people", "pressie": "present", "prezzie": "present", "prolly": "probably", "r": "are",
    "realy": "really", "reccomend": "recommend", "recomend": "recommend", "recs": "recommendations",
    "rly": "really", "rn": "right now", "shud": "should", "smth": "something",
    "somthing": "something", "sth": "something", "sumthin": "something", "teh": "the",
    "tho": "though", "thx": "thanks", "tnx": "thanks", "tryna": "trying to", "u": "you",
    "ur": "your", "w/": "with", "w/o": "without", "wanna": "want to", "wat": "what", "wot": "what",
    "wud": "would", "wut": "what", "y": "why",
    # Apostrophes that are left out; `its`, `ill`, `id`, `were`, `well` are words themselves.
    "arent": "aren't", "cant": "can't", "didnt": "didn't", "doesnt": "doesn't", "dont": "don't",
    "im": "i'm", "isnt": "isn't", "ive": "i've", "thats": "that's", "whats": "what's",
    "wont": "won't",
}  # fmt: skip
"""What stands for one thing alone: `4` may be a number, `diff` different or difference."""

_TOKEN = re.compile(r"[\w'/-]+")
_DRAWN_OUT = re.compile(r"([a-z])\1{2,}")
_APOSTROPHES = str.maketrans("\u2019\u02bc\u00b4`", "''''")


def small(text: str) -> str:
    """Text in small letters, place by place: whoever types in capitals means the same."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


@dataclass(frozen=True, slots=True)
class Reading:
    """A message, as it was typed and as the model reads it."""

    said: str
    text: str
    """What the model reads."""
    places: tuple[tuple[int, int], ...]
    """For each character of `text` the part of `said` that it stands for."""

    @classmethod
    def of(cls, said: str) -> Self:
        """Read a message."""
        plain = small(said).translate(_APOSTROPHES)
        text, places, end = "", list[tuple[int, int]](), 0
        for match in _TOKEN.finditer(plain):
            once = _DRAWN_OUT.sub(r"\1", match[0])
            written = _SHORTHAND.get(once, once)
            if written != match[0]:
                start, stop = match.span()
                text += plain[end:start] + written
                places += [(at, at + 1) for at in range(end, start)]
                places += [(start, stop)] * len(written)
                end = stop
        places += [(at, at + 1) for at in range(end, len(plain))]
        return cls(said, text + plain[end:], tuple(places))

    def typed(self, span: str) -> str | None:
        """A part of what the model reads, as it was typed; None where it is no part."""
        at = self.text.find(span)
        if not span or at < 0:
            return None
        return self.said[self.places[at][0] : self.places[at + len(span) - 1][1]]
