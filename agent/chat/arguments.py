"""The words after a command: what they ask of a turn, which two items, which picture."""

import os
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mllm_srec.agent.conversation.intents import MAX_SPAN, Intent, Understood
from mllm_srec.agent.conversation.places import place
from mllm_srec.agent.conversation.spoken_numbers import numbers
from mllm_srec.store.errors import BadPicture
from mllm_srec.store.home import Home
from mllm_srec.store.pictures import open_picture, read_picture
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.values import FILLING, Vocabulary, value_of

JOINTS = (r"\s+(?:and|with)\s+", r"\s*,\s*", r"\s+")
"""What stands between two items; titles have these words too, commas most of all."""
PICTURE = re.compile(r"\.(png|jpe?g|webp|gif|bmp)['\"]?$", re.IGNORECASE)
"""How the name of a picture's file ends, with the quote that a terminal puts around it."""


def asked(intent: Intent, **slots: Any) -> Understood:
    """The turn of a command.

    Raises:
        WrongCall: Something is named at greater length than a turn takes.
    """
    try:
        return Understood(intent=intent, **slots)
    except ValidationError as error:
        fault = error.errors()[0]
        named = str(fault["input"])
        instead = "its number or id" if fault["loc"][0] in ("item", "second") else "fewer words"
        raise WrongCall(
            f"{named[:40]!r}... has {len(named)} characters, and a name at most {MAX_SPAN} "
            f"characters: use {instead}"
        ) from error


def how_many(words: str) -> tuple[str, str]:
    """How many items, as it was said, and of what; empty where nothing was said.

    Raises:
        WrongCall: The words have a second number.
    """
    parts = words.split()
    said = numbers(words)
    if len(said) > 1:
        raise WrongCall(
            f"{words!r} has two numbers: /recommend 5 toys, or say it without a command"
        )
    if not said:
        return "", words
    # The number is as few words as say it: of `a dozen toys`, `a dozen`.
    stop = next(end for end in range(len(parts) + 1) if numbers(" ".join(parts[:end])) == said)
    start = max(at for at in range(stop) if numbers(" ".join(parts[at:stop])) == said)
    before = [] if set(parts[:start]) <= FILLING else parts[:start]
    return " ".join(parts[start:stop]), " ".join((*before, *parts[stop:]))


@dataclass(frozen=True)
class ItemNames:
    """What names an item: a place in the list, its id, bare or as `[i7]`, or its whole title.

    A title that is also a value of the shop, such as `red`, means the value.
    """

    home: Home

    def __contains__(self, words: str) -> bool:
        """Whether some words name an item."""
        bare = words[1:-1] if words[:1] == "[" else words
        if place(words) is not None or self.home.catalogue.item(bare) is not None:
            return True
        return value_of(words) in self._titles

    @cached_property
    def _titles(self) -> frozenset[str]:
        titles = {value_of(item.title) for item in self.home.catalogue.items().values()}
        return frozenset(titles - {""} - set(Vocabulary.of(self.home).counts))


def two_items(home: Home, words: str) -> tuple[str, str]:
    """The two items of a comparison, empty where none was named.

    Words are parted where both sides name an item; else at the only joint of its kind.

    Raises:
        WrongCall: They are not two items.
    """
    if not words:
        return "", ""
    splits = [
        [(words[: joint.start()], words[joint.end() :]) for joint in re.finditer(kind, words)]
        for kind in JOINTS
    ]
    names = ItemNames(home)
    for pair in (pair for found in splits for pair in found):
        if all(each in names for each in pair):
            return pair
    for found in splits:
        if len(found) == 1:
            return found[0]
    raise WrongCall(f"{words!r} does not name two items: /compare 1 3, or /compare TITLE and TITLE")


def file_path(name: str) -> Path:
    """The file of a name that a person typed.

    Raises:
        WrongCall: No file can be called so.
    """
    if "\0" in name:
        raise WrongCall(f"{name!r} is no name of a file")
    # `Path.expanduser` raises where there is no such user.
    return Path(os.path.expanduser(name))


def picture(words: str) -> tuple[bytes, str]:
    """The picture in the file that some words name, and the words after it.

    A name with blanks or quotes may stand as it is, or be quoted as in a shell.

    Raises:
        WrongCall: No file is named.
        CannotDo: The file cannot be read.
    """
    path, said = _file_and_words(words)
    return picture_file(path), said


def picture_file(path: Path) -> bytes:
    """The picture in a file, as it stands there.

    Raises:
        CannotDo: It cannot be read, is too large, or is no picture.
    """
    try:
        content = read_picture(path)
        open_picture(content)
    except BadPicture as error:
        raise CannotDo(f"{str(path)!r}: {error}") from error
    return content


def names_picture(line: str) -> bool:
    """Whether a line is nothing but the name of a picture's file, as a terminal pastes it."""
    if PICTURE.search(line) is None:
        return False
    try:
        path, said = _file_and_words(line)
    except WrongCall:
        return False
    return os.path.isfile(path) and not said


def _file_and_words(words: str) -> tuple[Path, str]:
    parts = words.split(" ")
    for stop in range(len(parts), 0, -1):
        path = file_path(" ".join(parts[:stop]))
        if os.path.isfile(path):
            return path, " ".join(parts[stop:]).strip()
    try:
        quoted = shlex.split(words)
    except ValueError as error:
        raise WrongCall(f"{words!r} is no file, and its quotes do not end") from error
    if not quoted:
        raise WrongCall("name a picture: /image FILE, and words if you like")
    return file_path(quoted[0]), " ".join(quoted[1:])
