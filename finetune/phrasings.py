"""The grammar of `recipes/phrasings.toml`: how people say what they want of a recommender."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from mllm_srec.agent.conversation.intents import Intent

LISTED = ("recommend, 5 shown", "search, 5 shown", "recommend, 3 shown", "search, 10 shown")
"""What may have gone before where a list is on the screen."""
ANYTHING = ("nothing", *LISTED)


@dataclass(frozen=True, slots=True)
class Group:
    """Frames that mean the same."""

    intent: Intent
    frames: tuple[str, ...]
    before: tuple[str, ...]
    """What may have gone before."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Fields of the answer that no slot holds."""
    weight: float = 1.0
    """How often, against other groups."""


@dataclass(frozen=True, slots=True)
class Phrasings:
    """The whole grammar."""

    parts: dict[str, str]
    """Parts of frames, themselves made of parts, choices and slots."""
    talk: tuple[Group, ...]
    answers: tuple[Group, ...]
    """Bare answers to a question that was asked back."""


@cache
def phrasings() -> Phrasings:
    """Read the grammar."""
    path = files("mllm_srec.finetune").joinpath("recipes/phrasings.toml")
    data = tomllib.loads(path.read_text("utf-8"))
    return Phrasings(
        parts=data["parts"],
        talk=tuple(map(_group, data["talk"])),
        answers=tuple(map(_group, data["answers"])),
    )


def _group(entry: dict[str, Any]) -> Group:
    before = entry.pop("before", None)
    contexts = ANYTHING if before is None else LISTED if before == "list" else (before,)
    return Group(**{**entry, "frames": tuple(entry["frames"]), "before": contexts})
