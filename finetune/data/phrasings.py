"""The grammar in the folder `grammar`: how people say what they want of a recommender.

A frame with its choices made is a phrasing. Every fifth phrasing is held out, by its words alone:
training never sees it, though it sees its words in other phrasings.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from mllm_srec.agent.conversation.intents import Intent
from mllm_srec.finetune.data.teacher import hash_fraction

Part = Literal["train", "held_out"]

FILES = ("lists.toml", "wishes.toml", "questions.toml", "about.toml", "answers.toml")
"""The frames; parts that a file has are its own."""
HELD_OUT = 0.2
"""Share of the phrasings that only measure."""
LISTED = (
    "recommend, 5 shown", "search, 5 shown", "recommend, 5 shown", "recommend, 3 shown",
    "search, 10 shown", "more, 5 shown", "recommend, 10 shown", "search, 1 shown",
)  # fmt: skip
"""What may have gone before where a list is on the screen."""
ANYTHING = ("nothing", "nothing", *LISTED, "asked back about why", "asked back about search")
FIELDS = {
    "value": "having", "known": "having", "material": "having", "purpose": "having",
    "kinds": "having", "no_value": "without", "dept": "department", "goods": "department",
    "under_word": "under", "over_word": "over", "products": "words",
}  # fmt: skip
"""The field of the answer that a slot fills, where it has another name."""


@dataclass(frozen=True, slots=True)
class Group:
    """Frames that mean the same."""

    intent: Intent
    frames: tuple[tuple[str, ...], ...]
    """Each frame as its phrasings."""
    before: tuple[str, ...]
    """What may have gone before."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Fields of the answer that no slot holds."""
    weight: float = 1.0
    """How often, against other groups of the intent."""

    def of_part(self, part: Part) -> tuple[tuple[str, ...], ...]:
        """The frames with the phrasings of one part; those without any are left out."""
        measured = part == "held_out"
        kept = (tuple(p for p in frame if held_out(p) == measured) for frame in self.frames)
        return tuple(frame for frame in kept if frame)


@dataclass(frozen=True, slots=True)
class Phrasings:
    """The whole grammar."""

    shares: dict[Intent, float]
    """How often an intent comes, against the others."""
    drawn: dict[str, tuple[str, ...]]
    """Parts that are drawn for each message and make no phrasing of their own."""
    talk: tuple[Group, ...]
    answers: tuple[Group, ...]
    """Bare answers to a question that was asked back."""


@cache
def phrasings() -> Phrasings:
    """Read the grammar."""
    folder = files("mllm_srec.finetune.data").joinpath("grammar")
    common = tomllib.loads(folder.joinpath("grammar.toml").read_text("utf-8"))
    drawn = common["drawn"]
    groups: dict[str, list[Group]] = {"talk": [], "answers": []}
    for name in FILES:
        own = tomllib.loads(folder.joinpath(name).read_text("utf-8"))
        parts = common["parts"] | own.get("parts", {})
        for kind, made in groups.items():
            made += (_group(entry, parts) for entry in own.get(kind, ()))
    return Phrasings(
        shares=common["shares"],
        drawn={name: tuple(_made(text, drawn)) for name, text in drawn.items()},
        talk=tuple(groups["talk"]),
        answers=tuple(groups["answers"]),
    )


@cache
def held_out(phrasing: str) -> bool:
    """Whether a phrasing only measures; one without words of its own never does."""
    if not own_words(phrasing):
        return False
    slots_named = re.sub(r"\{(\w+)\}", lambda m: f"{{{FIELDS.get(m[1], m[1])}}}", phrasing)
    key = " ".join(re.findall(r"[\w'{}]+", slots_named))
    return hash_fraction(key, "phrasing") < HELD_OUT


def own_words(phrasing: str) -> list[str]:
    """The words of a phrasing outside its slots and drawn parts."""
    return re.findall(r"[\w']+", re.sub(r"\{\w+\}", " ", phrasing))


def expand(frame: str, parts: Mapping[str, str]) -> tuple[str, ...]:
    """All phrasings of a frame, in order; slots and unknown parts stay."""
    return tuple(dict.fromkeys(" ".join(each.split()) for each in _made(frame, parts)))


def _made(text: str, parts: Mapping[str, str]) -> list[str]:
    """A text with its parts put in and its choices made in all ways, the last varying fastest."""
    while (full := re.sub(r"\{(\w+)\}", lambda m: parts.get(m[1], m[0]), text)) != text:
        text = full
    # A level of parentheses is its finished options, and what stands so far in the open one.
    levels: list[tuple[list[str], list[str]]] = [([], [""])]
    for piece in re.split(r"([(|)])", text):
        options, open_ = levels[-1]
        if piece == "(":
            levels.append(([], [""]))
        elif piece == "|" and len(levels) > 1:
            options += open_
            levels[-1] = (options, [""])
        elif piece == ")" and len(levels) > 1:
            levels.pop()
            outer, before = levels[-1]
            levels[-1] = (outer, [start + end for start in before for end in options + open_])
        else:
            levels[-1] = (options, [start + piece for start in open_])
    if len(levels) > 1:
        raise ValueError(f"a ( is not closed in {text!r}")
    return levels[0][1]


def _group(entry: dict[str, Any], parts: Mapping[str, str]) -> Group:
    before = entry.pop("before", None)
    contexts = ANYTHING if before is None else LISTED if before == "list" else (before,)
    frames = tuple(expand(frame, parts) for frame in entry["frames"])
    return Group(**{**entry, "frames": frames, "before": contexts})
