"""Greetings, thanks and goodbyes: messages that ask for nothing."""

import re
from typing import Literal

Courtesy = Literal["greeting", "thanks", "goodbye"]
_WORDS: dict[Courtesy, str] = {
    "greeting": r"(?:hi|hello|hey|hiya|howdy|good (?:morning|afternoon|evening|day))"
    r"(?: (?:there|again|all|everyone))?",
    "thanks": r"(?:thanks|thank you|thank u|thx|tysm|ty|cheers)"
    r"(?: (?:a lot|a bunch|so much|very much|again))?",
    "goodbye": r"(?:good ?bye|bye(?: bye)?|cya|see (?:you|ya)(?: (?:later|soon))?|good night)",
}
_ANY = rf"(?:{'|'.join(_WORDS.values())})"
_WHOLE = re.compile(rf"(?:(?:ok|okay) )?{_ANY}(?: (?:and )?{_ANY})*")


def courtesy(text: str) -> Courtesy | None:
    """What a message is that consists of nothing but courtesies, by the last of them."""
    words = " ".join(re.findall(r"\w+", text.casefold()))
    if not _WHOLE.fullmatch(words):
        return None
    return next(kind for kind, said in _WORDS.items() if re.search(rf"\b{said}$", words))
