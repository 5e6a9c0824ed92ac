"""How a message is typed: lead-ins, remarks, closings, slang and slips around its slots."""

import random
import re

OPENED = 0.35
"""Share of the messages with a lead-in."""
CLOSED = 0.6
"""Share of the messages with a closing, of those that have no mark at their end."""
REMARKED = 0.05
"""Share of the messages with a side remark before what they ask, and of those with one after it."""
SLIPS = 0.18
"""Share of the messages with a slip of the fingers outside the slots."""
SLANGY = 0.25
"""Share of the messages with slang, where they have words for it."""
APOSTROPHES = 0.3
"""Share of the messages with other apostrophes than plain ones, or none."""
PUNCTUATED = 0.2
"""Share of the messages with commas of another kind or none, where they have any."""
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
    "in that case ", "hiya, ", "hola, ", "ooh ", "err, ", "erm ", "once more: ", "ps: ", "hi! ",
    "hey!! ", "hello there, ", "good afternoon, ", "morning, ", "evening all, ", "g'day, ",
    "howdy, ", "namaste, ", "dear assistant, ", "dear bot, ", "hi bot, ", "hey bot ", "hallo, ",
    "hi again, ", "hello again, ", "me again, ", "ok so ", "ok then, ", "okay then ", "okey ",
    "k so ", "k, ", "kk ", "alrighty, ", "righto, ", "right then, ", "now then, ", "anyway, ",
    "anyways ", "anyhow, ", "so yeah ", "yeah so ", "yh ", "ya ", "yup, ", "sure, ", "sure. ",
    "got it. ", "i see. ", "i see, ", "fair enough, ", "fair, ", "makes sense. ", "interesting. ",
    "lovely, ", "brilliant, ", "super, ", "awesome, ", "good, ", "great stuff, ", "sweet, ",
    "thank you, ", "ta, ", "cheers, ", "many thanks, ", "thank you! ", "tysm, ", "ty! ",
    "basically ", "tbh ", "ngl ", "imo ", "imho ", "idk, ", "idk but ", "honestly ", "tbf ",
    "frankly, ", "to be honest, ", "to be fair, ", "i mean, ", "literally ", "bro ", "bruh ",
    "man, ", "mate, ", "girl, ", "babe, ", "guys, ", "folks, ", "my friend, ", "sir, ", "madam, ",
    "kindly ", "pls ", "plz ", "pretty please ", "if possible, ", "if you can, ", "by the way, ",
    "one thing: ", "one question, ", "just wondering, ", "just curious, ", "just checking, ",
    "out of curiosity, ", "random but ", "quick one: ", "small thing: ", "another thing: ",
    "and one thing, ", "last question: ", "one more thing, ", "oh and ", "oh btw ", "ah ok, ",
    "ah right, ", "aah ", "ohh ", "oooh, ", "wow, ", "whoa, ", "gosh, ", "oh my, ", "omg ",
    "omg!! ", "jeez, ", "ugh, ", "ugh ", "argh ", "meh, ", "hmmm ", "hmmmm, ", "mmh, ",
    "let's see, ", "let me think... ", "let me see... ", "wait, ", "wait ", "hang on, ",
    "hold on, ", "one sec, ", "ummm ", "uhh, ", "er, ", "eh, ", "seriously, ", "srsly ",
    "ok listen, ", "look here, ", "see, ", "you know, ", "u know what, ", "guess what, ", "today ",
    "for now ", "first of all, ", "first, ", "finally, ", "therefore ", "however, ", "still, ",
    "- ", "... ", "@bot ", "hey siri, ", "hey alexa, ",
)  # fmt: skip
CLOSINGS = (
    "!", "!", "!", "!", "?", "?", "?", "?", "?", "?", ".", ".", ".", ".", ".", ".", "...", "...",
    "??", "???", "!!", "?!", "..", " :)", " :)", " ;)", " :D", " :-)", " thx", " thx!", " please",
    " please", " please", ", please", ", please", ", please?", " please!", " pls", " plz", " pls?",
    " thanks", " thanks", ", thanks", " thanks!", ". thanks!", ", thank you", " thank you!", " ty",
    " cheers", ", cheers", " lol", " haha", " mate", " man", ", buddy", " dude", " bro",
    " if you can", " if possible", ", if you don't mind", ", if that's ok", " then", " then?",
    " now", " right now", " today", " tho", ", ok?", " ok", " okay?", ", will you?", " xx", " :(",
    ", right?", " pretty please", ", would you?", " !", " ?", " asap", " i guess", "!!!", "????",
    "!?", "....", " ...", " ..", ",", " -", ";", " xD", " :p", " :/", " ^^", " <3", " \U0001f60a",
    " \U0001f642", " \U0001f64f", "\U0001f64f", " \U0001f602", " \U0001f605", " \U0001f44d",
    " \u2764\ufe0f", " \U0001f605\U0001f605", " \U0001f914", "\U0001f914", " \U0001f389",
    " \U0001f60d", " \U0001f979", " \U0001f62d", " \U0001f644", " \U0001f381", "\U0001f60a",
    " lmao", " hehe", " hahaha", " tysm", " thank u", " thankyou", ", thank you very much",
    ", many thanks", ", much appreciated", ", appreciate it", " ta", ", ta", ", dear", ", sir",
    ", my friend", " sis", " fam", " girl", ", guys", " yeah?", ", yeah", ", yes?", " eh", ", eh?",
    ", innit", " no?", ", or?", ", can you?", ", could you?", ", kindly", " kindly",
    " when you can", " when you get a sec", ", no rush", ", no pressure", ", quickly", " quick",
    " real quick", " urgently", ", for once", ", honestly", " honestly", " tbh", ", tbh", " ngl",
    " imo", " fr", " rn", " atm", " at the moment", ", i think", " i think", ", i suppose",
    " i suppose", ", you know", " you know", ", if that makes sense", ", if you get me", ", i mean",
    " or so", " or sth", ", if at all possible", ", if it's not too much trouble",
    ", would that be ok", ", is that possible?", ", that would be great", ", that'd be lovely",
    ", seriously", " seriously", " for real", ", for heaven's sake", ", jeez", ", ugh", " ffs",
    " smh", ", sorry", " sorry!", ", sorry to bother", ", just saying", " just saying", " anyway",
    " anyways",
)  # fmt: skip

REMARKS_BEFORE = (
    "long day... ", "what a day. ", "such a long week, ", "it's for a friend, ",
    "not for myself but ", "it's not for myself, ", "asking for a friend: ",
    "not sure if you can help but ", "not sure you can do this but ",
    "i don't know if this is the right place, ", "this may be a silly question but ",
    "dumb question maybe, ", "might be a stupid question, ", "sorry if i already asked this, ",
    "sorry for all the questions, ", "sorry for my english, ", "my english is not so good, ",
    "bear with me, ", "typing with one hand here, ", "i'm on my phone so ",
    "my keyboard is broken, ", "hope you are well. ", "hope you're having a good day, ",
    "nice to be back. ", "back from lunch, ", "ok i'm back, ", "quick before the bus comes: ",
    "i have five minutes so ", "in a bit of a rush, ", "i'm in a hurry, ", "no rush at all but ",
    "when you have a moment, ", "between us, ", "don't laugh but ", "you might laugh but ",
    "you'll think i'm mad but ", "call me crazy but ", "maybe it's just me but ",
    "i hate to be difficult but ", "i know i'm picky, ", "i'm a bit fussy, sorry, ",
    "no offence but ", "with all due respect, ", "just to be clear, ", "just so you know, ",
    "to be clear: ", "long story short, ", "long story, but ", "so here's the thing: ",
    "the thing is, ", "here's my question: ", "here goes: ", "i was just thinking, ",
    "i've been thinking, ", "thinking about it, ", "now that i think of it, ",
    "after looking at it for a while, ", "having slept on it, ", "i talked to my husband and ",
    "my wife says hi, ", "my mum is sitting next to me, ", "the kids are finally asleep, ",
    "coffee first... ok. ", "it's late, i know, ", "it's my day off, ", "payday today! ",
    "finally weekend! ", "as i said before, ", "like i said, ", "as always, ", "as usual, ",
    "if you ask me, ", "if i may ask, ", "may i ask, ", "can i ask you something: ",
    "could you do me a favour, ", "do me a favour: ", "i have a question. ", "i've got a request, ",
    "one small request: ", "i'd be grateful, ", "it would be nice: ", "one of those days, ",
    "ha, good one. ", "you're doing great. ", "that was quick! ", "wow that was fast. ",
    "thanks for that. ", "thanks for your patience, ", "right, where were we. ", "let's try this: ",
    "let's see if this works: ", "let's do this: ", "fingers crossed, ", "crossing my fingers, ",
)  # fmt: skip
REMARKS_AFTER = (
    " - my phone is dying", ", my phone is dying", ", my battery is almost empty",
    ", i'm in a rush", ", i'm in a hurry", " - got to run soon", ", gotta go soon",
    ", the bus is coming", ", i don't have much time", ", i've only got five minutes", ", no rush",
    ", take your time", ", whenever you're ready", ", hope that's ok", ", hope that makes sense",
    ", hope you can help", ", if that makes any sense", ", if you know what i mean",
    ", if you see what i mean", ", sorry for the trouble", ", sorry to be a pain",
    ", sorry to be so picky", " (sorry for my english)", " (sorry, typing on my phone)",
    " (asking for a friend)", ", it's for a friend", " - long story", ", long story", ", don't ask",
    " - don't judge me", ", don't laugh", ", i know, i know", ", i know i'm fussy",
    ", my wife is going to kill me", ", my husband will laugh", ", the kids are waiting",
    ", my boss is watching", ", i'm at work", ", i'm on the train", ", writing from the bus",
    ", i can't wait", ", so excited", " - fingers crossed", ", fingers crossed", ", wish me luck",
    ", you're a star", ", you're the best", ", you're a lifesaver", ", i owe you one",
    ", i'd appreciate it", ", that would help a lot", ", would really help", ", thanks in advance",
    ", thank you in advance", ", thanks for your help", ", thanks for your time", ", god bless",
    ", have a nice day", ", have a good one", ", best regards", ". regards, m",
    ", greetings from me", ", just curious", ", just asking", ", just wondering",
    " - just thinking out loud", ", or am i wrong", ", am i right", ", you get the idea",
    ", you know how it is", ", as i said", ", like i said", ", as always", ", as usual",
    ", simple as that", ", that's all", ", that's all for today", ", that is all i ask",
    ", nothing complicated", ", easy enough", ", if it's not too much to ask",
    ", if you'd be so kind", ", if you would be so kind", ", let me know", ", let me know asap",
    ", lemme know", ", go",
)  # fmt: skip

_SLANG = {
    "you": ("u", "u", "ya", "yu"), "your": ("ur", "yr"), "you're": ("ur", "your", "youre"),
    "please": ("pls", "plz", "pleaseee", "plss"), "are": ("r",), "what": ("wat", "wut", "wot"),
    "want to": ("wanna",), "thanks": ("thx", "thnx", "tnx"),
    "something": ("sth", "smth", "sumthin"), "anything": ("anythin", "anyting"),
    "because": ("cuz", "bc", "cos"), "to me": ("2 me",), "for me": ("4 me", "4me"),
    "for": ("4", "fo", "for", "for", "fr"), "give me": ("gimme",), "let me": ("lemme",),
    "would": ("wud", "wld"), "could": ("cud", "cld"), "should": ("shud", "shld"),
    "though": ("tho",), "going to": ("gonna",), "got to": ("gotta",), "have to": ("hafta",),
    "i don't know": ("idk",), "don't know": ("dunno",), "why": ("y",),
    "and": ("&", "n", "nd", "and"), "with": ("w/", "wit", "wiv"), "without": ("w/o", "witout"),
    "people": ("ppl",), "about": ("abt", "bout"), "great": ("gr8", "grt"),
    "really": ("rly", "rlly", "realy"), "never": ("nvr",), "show me": ("show", "sho me"),
    "kind of": ("kinda",), "sort of": ("sorta",), "i am": ("im",), "i'm": ("im",),
    "favourite": ("fav", "fave", "favorite"), "recommend": ("rec", "recomend", "reccomend"),
    "recommendations": ("recs", "recomendations"), "before": ("b4",), "see": ("c",),
    "love": ("luv", "looove"), "know": ("kno",), "more": ("moar",), "hello": ("helo", "hallo"),
    "tomorrow": ("tmrw",), "tonight": ("2nite",), "the": ("teh", "da"),
    "don't": ("dont", "dnt", "don"), "do not": ("dont",), "doesn't": ("doesnt", "dont"),
    "isn't": ("aint", "isnt"), "aren't": ("arent", "aint"), "can't": ("cant", "cannot"),
    "cannot": ("cant",), "won't": ("wont",), "what's": ("whats", "wats"), "that's": ("thats",),
    "it's": ("its",), "i've": ("ive",), "i'd": ("id",), "this": ("dis", "tis"), "that": ("dat",),
    "them": ("em", "'em", "dem"), "these": ("dese",), "things": ("thingz", "tings"),
    "stuff": ("stuffs",), "okay": ("ok", "k"), "probably": ("prolly", "prob"), "too": ("2", "to"),
    "definitely": ("def", "definately"), "picture": ("pic",), "pictures": ("pics",),
    "information": ("info",), "message": ("msg",), "maybe": ("mayb", "mebbe"), "again": ("agen",),
    "looking": ("lookin",), "nothing": ("nuthin", "nothin"), "searching": ("searchin",),
    "showing": ("showin",), "have": ("hav", "hv"), "just": ("jus", "jst"), "like": ("lyk", "liek"),
    "colour": ("color",), "colours": ("colors",), "next": ("nxt",), "when": ("wen",),
    "where": ("wher", "were"), "think": ("thnk", "fink"), "good": ("gud", "goood"), "but": ("bt",),
    "not": ("nt",), "someone": ("some1",), "everyone": ("every1",),
    "everything": ("evrything", "everythin"), "birthday": ("bday", "b-day"),
    "present": ("pressie",), "presents": ("pressies", "prezzies"), "expensive": ("expnsive",),
    "different": ("diff", "diffrent"), "difference": ("diff", "diffrence"), "until": ("til",),
    "actually": ("actualy",), "catalogue": ("catalog",), "similar": ("similiar", "simular"),
    "never mind": ("nvm",), "a lot": ("alot", "a lott"), "right now": ("rn",),
    "suggest": ("sugest",), "suggestions": ("sugestions", "suggs"), "history": ("histroy",),
    "profile": ("profil",), "compare": ("compair",), "bought": ("bort", "bougt"),
    "remove": ("rmv", "remov"), "delete": ("del", "delet"), "explain": ("explane",),
    "forget": ("4get", "forgett"),
}  # fmt: skip
_SLANG_WORDS = re.compile(
    rf"(?<![\w{{])(?:{'|'.join(map(re.escape, sorted(_SLANG, key=len, reverse=True)))})(?![\w}}'])"
)
_SLOT = re.compile(r"(\{\w+\})")
_COMMA = re.compile(r"(?<=[a-z']), (?=[a-z])")
"""A comma between two words, and not next to a slot."""
_COMMAS = ("", "", "", " ", ",", ",", " , ", ". ", "... ", " - ", "; ", " \u2013 ", ".. ", "! ")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEXT_KEYS = {
    key: "".join(row[max(at - 1, 0) : at] + row[at + 1 : at + 2])
    for row in _KEYS
    for at, key in enumerate(row)
}


def spoken(carrier: str, rng: random.Random) -> tuple[str, bool]:
    """A carrier as it is typed, and whether all in capitals; its slots are left alone."""
    text = _as_typed(_wrapped(carrier, rng), rng)
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


def _wrapped(text: str, rng: random.Random) -> str:
    """A text with what is said around it: a lead-in, a remark, a closing."""
    if rng.random() < REMARKED:
        text = rng.choice(REMARKS_BEFORE) + text
    if rng.random() < OPENED:
        text = rng.choice(OPENINGS) + text
    if text[-1] not in "?!.":
        if rng.random() < REMARKED:
            text += rng.choice(REMARKS_AFTER)
        if rng.random() < CLOSED:
            text += rng.choice(CLOSINGS)
    return text


def _as_typed(text: str, rng: random.Random) -> str:
    """A text with the habits of who types it: slang, apostrophes, commas."""
    if rng.random() < SLANGY:
        text = _SLANG_WORDS.sub(
            lambda m: rng.choice(_SLANG[m[0]]) if rng.random() < 0.4 else m[0], text
        )
    if "'" in text and rng.random() < APOSTROPHES:
        text = text.replace("'", rng.choice(("", "", "\u2019", "\u2019", "`", "\u00b4")))
    if rng.random() < PUNCTUATED:
        mark = rng.choice(_COMMAS)
        text = _COMMA.sub(mark if mark.strip() == "," or mark.endswith(" ") else " ", text)
    return text


def slip(text: str, rng: random.Random) -> str:
    """A slip of the fingers in a text of lower-case words; short words are left alone.

    A letter is left out, doubled, drawn out, swapped with the next or hit a key beside, or the
    space between two words is missing.
    """
    words = re.finditer(r"[a-z]{4,}", text)
    places = [at for word in words for at in range(word.start() + 1, word.end() - 1)]
    if not places:
        return text
    at = rng.choice(places)
    letter, after = text[at], text[at + 1 :]
    kind = rng.randrange(9)
    if kind < 2:
        return text[:at] + after
    if kind < 4:
        return text[:at] + letter * 2 + after
    if kind < 6:
        return text[:at] + after[0] + letter + after[1:]
    if kind < 8:
        return text[:at] + rng.choice(_NEXT_KEYS[letter]) + after
    gaps = [match.start() for match in re.finditer(r"(?<=[a-z]{2}) (?=[a-z]{2})", text)]
    if gaps and rng.random() < 0.7:
        gap = rng.choice(gaps)
        return text[:gap] + text[gap + 1 :]
    return text[:at] + letter * rng.randint(3, 5) + after
