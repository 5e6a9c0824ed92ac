"""The words of `slot_words.toml`: what people put into a message, far beyond the drawn shops."""

import tomllib
from functools import cache
from importlib.resources import files


@cache
def slot_words() -> dict[str, tuple[str, ...]]:
    """Read the lists, each by its name; a word that stands twice is drawn twice as often."""
    path = files("mllm_srec.finetune.data").joinpath("slot_words.toml")
    lists: dict[str, str] = tomllib.loads(path.read_text("utf-8"))
    return {
        name: tuple(word for each in text.split(",") if (word := " ".join(each.split())))
        for name, text in lists.items()
    }


def plural(noun: str) -> str:
    """Several of a thing: `water bottles`, `chests of drawers`, `bookshelves`; `blocks` stays."""
    head, of, rest = noun.partition(" of ")
    if of:
        return f"{plural(head)}{of}{rest}"
    if noun.endswith("blocks"):
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    if noun.endswith(("shelf", "scarf")):
        return f"{noun[:-1]}ves"
    if noun.endswith("knife"):
        return f"{noun[:-2]}ves"
    return f"{noun}es" if noun.endswith(("sh", "ch", "x", "s", "z")) else f"{noun}s"


def with_article(noun: str) -> str:
    """One of a thing: `a kite`, `an umbrella`."""
    return f"{'an' if noun[:1].casefold() in 'aeiou' else 'a'} {noun}"
