"""How a message is typed: lead-ins, closings, slang, slips and capitals around its slots."""

import random
import re

SLIPS = 0.18
"""Share of the messages with a slip of the fingers outside the slots."""
SLANGY = 0.25
"""Share of the messages with slang, where they have words for it."""
APOSTROPHES = 0.3
"""Share of the messages with other apostrophes than plain ones, or none."""
SHOUTED = 0.03
"""Share of the messages in capitals."""

OPENINGS = (
    "hi, ", "hi ", "hey ", "hey, ", "hello, ", "hello! ", "hi there, ", "hey there ", "ok ", "ok, ",
    "okay, ", "okay so ", "well, ", "well ", "so ", "so, ", "hmm ", "hm, ", "hmm... ", "please ",
    "um, ", "uh ", "uhm ", "yo ", "yo, ", "alright, ", "right, ", "right ", "now ", "oh ", "oh, ",
    "ah, ", "aha. ", "thanks, ", "thanks! ", "thx, ", "great, ", "nice, ", "cool, ", "perfect. ",
    "sorry, ", "sorry but ", "actually, ", "actually ", "and ", "also ", "also, ", "btw ", "btw, ",
    "lol ", "haha ", "good morning, ", "good evening! ", "hey buddy, ", "dude ", "listen, ",
    "excuse me, ", "quick question: ", "question: ", "tell me, ", "say, ", "look, ", "yes, ",
    "yeah ", "yep, ", "fine. ", "wow. ", "come on, ", "honestly, ", "maybe ", "then ",
    "in that case ", "hiya, ", "hola, ", "ooh ", "err, ", "erm ", "once more: ", "ps: ",
)  # fmt: skip
CLOSINGS = (
    "!", "!", "?", "?", "?", ".", ".", ".", " :)", " ;)", " :D", " :-)", " thx", " thx!", "...",
    "??", "???", "!!", "?!", "..", " please", " please", ", please", ", please?", " please!",
    " pls",
    " plz", " pls?", " thanks", ", thanks", " thanks!", ". thanks!", ", thank you", " thank you!",
    " ty", " cheers", ", cheers", " lol", " haha", " mate", " man", ", buddy", " dude", " bro",
    " if you can", " if possible", ", if you don't mind", ", if that's ok", " then", " then?",
    " now", " right now", " today", " tho", ", ok?", " ok", " okay?", ", will you?", " xx", " :(",
    ", right?", " pretty please", ", would you?", " !", " ?", " asap", " i guess",
)  # fmt: skip

_SLANG = {
    "you": "u", "your": "ur", "you're": "ur", "please": "pls", "are": "r", "what": "wat",
    "want to": "wanna", "thanks": "thx", "something": "sth", "anything": "anythin",
    "because": "cuz", "to me": "2 me", "for me": "4 me", "give me": "gimme", "let me": "lemme",
    "would": "wud", "could": "cud", "should": "shud", "though": "tho", "going to": "gonna",
    "got to": "gotta", "i don't know": "idk", "don't know": "dunno", "why": "y", "and": "&",
    "with": "w/", "without": "w/o", "people": "ppl", "about": "abt", "great": "gr8",
    "really": "rly", "never": "nvr", "show me": "show", "kind of": "kinda", "i am": "im",
    "favourite": "fav", "recommend": "rec", "before": "b4", "see": "c", "love": "luv",
    "know": "kno", "hello": "helo", "tomorrow": "tmrw", "tonight": "2nite", "the": "teh",
}  # fmt: skip
_SLANG_WORDS = re.compile(
    rf"(?<![\w{{])(?:{'|'.join(map(re.escape, sorted(_SLANG, key=len, reverse=True)))})(?![\w}}'])"
)
_SLOT = re.compile(r"(\{\w+\})")


def spoken(carrier: str, rng: random.Random) -> tuple[str, bool]:
    """A carrier as it is typed, and whether all in capitals; its slots are left alone."""
    text = rng.choice(OPENINGS) + carrier if rng.random() < 0.35 else carrier
    if text[-1] not in "?!." and rng.random() < 0.6:
        text += rng.choice(CLOSINGS)
    if rng.random() < SLANGY:
        text = _SLANG_WORDS.sub(lambda m: _SLANG[m[0]] if rng.random() < 0.4 else m[0], text)
    if "'" in text and rng.random() < APOSTROPHES:
        text = text.replace("'", "" if rng.random() < 0.5 else "\u2019")
    if rng.random() < SLIPS:
        pieces = _SLOT.split(text)
        index = 2 * rng.randrange((len(pieces) + 1) // 2)
        pieces[index] = slip(pieces[index], rng)
        text = "".join(pieces)
    if rng.random() < SHOUTED:
        pieces = _SLOT.split(text)
        return "".join(each.upper() if n % 2 == 0 else each for n, each in enumerate(pieces)), True
    if rng.random() < 0.35 and text[:1].isalpha():
        text = re.sub(r"(?<![\w{'])i(?![\w}])", "I", text[0].upper() + text[1:])
    return text, False


def slip(text: str, rng: random.Random) -> str:
    """One letter left out, doubled, or swapped with the next; short words are left alone."""
    places = [match.start() + 1 for match in re.finditer(r"[a-z]{4,}", text)]
    if not places:
        return text
    at = rng.choice(places) + rng.randint(0, 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
