"""fuse_items: one readable representation for every item that lacks one (MLLM-SRec, step 1).

The model is asked about the picture alone, then merges its own answer with the item's text.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from langgraph.runtime import Runtime
from pydantic import Field

from mllm_srec.agent.ask import Question, Reply, ask
from mllm_srec.agent.state import YOUR_PICTURE, Context, Part, State, Update
from mllm_srec.llm.answer_schema import answer_schema, spans
from mllm_srec.llm.engine import Picture, Prompt
from mllm_srec.llm.pictures import preparation, prepare
from mllm_srec.llm.prompting import prompt_hash, render
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.catalogue import Catalogue
from mllm_srec.store.errors import ItemGone
from mllm_srec.store.records import (
    MAX_WORD,
    UNKNOWN,
    FusedItem,
    Item,
    Name,
    Record,
    Representation,
    Word,
)

T = TypeVar("T")

MAX_TOKENS = 160
FIELD_CHARACTERS = {"title": 300, "description": 600, "keywords": 200, "brand": 80, "category": 200}
"""How much of each field a prompt shows: long texts must not push the task out of sight."""
MAX_VALUE_PIECES = 8
"""Words and marks of a value that the text tells."""
MAX_TOLD = 10
"""Attributes that `FusedItem.told` takes."""
PRICE_BANDS = ((15.0, "budget"), (40.0, "mid"), (float("inf"), "premium"))
"""Upper bounds, in the shop's currency, of the words that stand for a price."""


class VisualAnswer(Record):
    """What the model sees in the picture alone (step 1a)."""

    what: Word
    seen: dict[Name, Word] = Field(default_factory=dict, max_length=8)

    @property
    def text(self) -> str:
        """The answer as it stands in the fuse prompt."""
        return compact(self.model_dump())


async def fuse_items(state: State, runtime: Runtime[Context]) -> Update:
    """Fuse the items of the history that have no current representation, and a given picture."""
    context = runtime.context
    item_ids = list(dict.fromkeys(event["item_id"] for event in state.history))
    items = context.home.catalogue.items(item_ids)
    known = context.home.catalogue.representations(item_ids)
    if missing := stale(items, known, fuse_key(context)):
        await fuse(context, missing)
    if state.picture is None:
        return {}
    return {"pictured": (await fused_picture(context, state.picture)).model_dump()}


async def fuse(context: Context, items: Sequence[Item]) -> list[Representation]:
    """Fuse items, and write their descriptions and vectors to the store."""
    looks = await look_at(context, items)
    replies = await ask(
        context.calls,
        [fuse_question(item, looks.get(item.item_id)) for item in items],
        max_tokens=MAX_TOKENS,
    )
    key = fuse_key(context)
    fused = [
        Representation(
            item_id=item.item_id,
            fused=reply.value,
            # Without the picture's answer the description is a plain form of its text, too.
            fallback=reply.fallback or (item.picture is not None and item.item_id not in looks),
            key=item_key(item, key),
        )
        for item, reply in zip(items, replies, strict=True)
    ]
    vectors = await context.calls.embed([entry.fused.line for entry in fused])
    context.home.describe(items, fused, vectors)
    return fused


async def fused_picture(context: Context, picture: str, words: str = "") -> FusedItem:
    """A user's own picture, kept under a content hash, fused with what was said of it."""
    image = prepare(context.home.pictures.load(picture), context.budget)
    [look] = await ask(context.calls, [look_question(image)], max_tokens=MAX_TOKENS)
    item = Item(item_id=YOUR_PICTURE, title=words)
    [fused] = await ask(context.calls, [fuse_question(item, look.value)], max_tokens=MAX_TOKENS)
    return fused.value


def pictured(state: State) -> dict[str, FusedItem]:
    """What the caller's picture shows, by its name in the history; nothing without one."""
    shown = state.pictured
    return {} if shown is None else {YOUR_PICTURE: FusedItem.model_validate(shown)}


async def look_at(context: Context, items: Sequence[Item]) -> dict[str, VisualAnswer]:
    """What the model sees in pictures; items it says nothing useful about are left out."""
    pictures = {
        item.item_id: prepare(context.home.pictures.load(item.picture), context.budget)
        for item in items
        if item.picture is not None
    }
    replies: list[Reply[VisualAnswer]] = await ask(
        context.calls,
        [look_question(picture) for picture in pictures.values()],
        max_tokens=MAX_TOKENS,
    )
    return {
        item_id: reply.value
        for item_id, reply in zip(pictures, replies, strict=True)
        if not reply.fallback
    }


def look_question(picture: Picture) -> Question[VisualAnswer]:
    """What does the picture show, whatever the text says?"""
    return Question(
        prompt=render("look", pictures=(picture,), schema=answer_schema(VisualAnswer)),
        check=check_look,
        plain=lambda: VisualAnswer(what=UNKNOWN),
    )


def check_look(text: str) -> VisualAnswer:
    """Parse a visual answer; its words go into other prompts, so they must keep to their line.

    Raises:
        InvalidAnswer: It is malformed, or a word of it is more than a word.
    """
    look = parse(text, VisualAnswer)
    for word in (look.what, *look.seen, *look.seen.values()):
        if word != one_line(word, len(word)):
            raise InvalidAnswer(text, f"{word!r} is not a plain word")
    return look


def fuse_question(item: Item, look: VisualAnswer | None) -> Question[FusedItem]:
    """What is the item, by its picture and its text together?"""
    return Question(
        prompt=fuse_prompt(item, look),
        check=lambda text: check_fused(text, item, look),
        plain=lambda: plain_fused(item, look),
    )


def fuse_prompt(item: Item, look: VisualAnswer | None) -> Prompt:
    """The fuse prompt of an item and of what its picture showed."""
    text = item_text(item)
    said = [value for told in _fields(item).values() for value in _values(told)]
    shown = look.seen.values() if look else ()
    named = (look.what, UNKNOWN) if look else (UNKNOWN,)
    given = {"what": (*named, *said), "seen": shown, "told": said, "conflicts": said}
    return render(
        "fuse",
        look=look.text if look else "none",
        text=text or "none",
        schema=answer_schema(FusedItem, given),
    )


def _values(line: str) -> Iterator[str]:
    """What a line of text may say of an item: its words as they stand, and in small letters.

    A value begins and ends with a word, and closes the brackets and quotes that it opens.
    """
    for value in spans(line, pieces=MAX_VALUE_PIECES, characters=MAX_WORD):
        whole = value[0].isalnum() and (value[-1].isalnum() or value[-1] in ')"')
        if whole and value.count("(") == value.count(")") and value.count('"') % 2 == 0:
            yield value
            yield value.lower()


def check_fused(text: str, item: Item, look: VisualAnswer | None) -> FusedItem:
    """Parse a fused description, hold it against picture answer and text, and complete it.

    Raises:
        InvalidAnswer: It is malformed, or names something that neither picture nor text supports.
    """
    fused = parse(text, FusedItem)
    shown = set(look.seen.values()) if look else set()
    for value in fused.seen.values():
        if value not in shown:
            raise InvalidAnswer(text, f"{value!r} is not in the picture")
    # Line by line: a value that runs over a line's end would break the prompts it goes into.
    lines = item_text(item).casefold().splitlines()

    def is_told(value: str) -> bool:
        return any(value.casefold() in line for line in lines)

    for value in (*fused.told.values(), *fused.conflicts.values()):
        if not is_told(value):
            raise InvalidAnswer(text, f"{value!r} is not in the text")
    named = {UNKNOWN, look.what} if look else {UNKNOWN}
    if fused.what not in named and not is_told(fused.what):
        raise InvalidAnswer(text, f"{fused.what!r} is in neither picture nor text")
    meant = {
        "what": fused.what if fused.what in named else _as_meant(fused.what, item),
        "told": {
            name: value if name == "brand" else _as_meant(value, item)
            for name, value in fused.told.items()
        },
        "conflicts": {name: _as_meant(value, item) for name, value in fused.conflicts.items()},
    }
    return _completed(fused.model_copy(update=meant), item)


def _as_meant(value: str, item: Item) -> str:
    """The value in lower case where only its place gave it a capital: `Cotton; for school.`."""
    small = value[:1].lower() + value[1:]
    if len(value) < 2 or value == small or value[1:] != value[1:].lower():
        return value
    opening = 0
    # Where every word of a title has a capital, the capital says nothing.
    titled = not re.search(r"\b[a-z]{3,}", item.title)
    for name, line in _fields(item).items():
        for match in re.finditer(rf"\b{re.escape(value)}\b", line):
            before = line[: match.start()].rstrip()
            if name not in ("title", "description") or (before and before[-1] not in ".!?"):
                return value
            if name == "title" and titled:
                return value
            opening += 1
    return small if opening else value


def _completed(fused: FusedItem, item: Item) -> FusedItem:
    """The description completed from the shop's own fields, brand and category; no value twice."""
    told: dict[str, str] = {}
    met = {""}
    for name, value in (*fused.told.items(), ("brand", one_line(item.brand, 80))):
        if name not in told and value.casefold() not in met and len(told) < MAX_TOLD:
            told[name] = value
            met.add(value.casefold())
    # A path ends with a kind of thing; a category alone may be a department of the shop.
    has_path = ">" in next(iter(item.categories), "")
    what = _category(item) if has_path and fused.what == UNKNOWN else fused.what
    return fused.model_copy(update={"what": what, "told": told})


def plain_fused(item: Item, look: VisualAnswer | None) -> FusedItem:
    """A description without the model's merging: the picture's answer and the plain fields."""
    told = {"brand": one_line(item.brand, 80), "price": price_band(item.price)}
    return FusedItem(
        what=look.what if look else _category(item),
        seen=look.seen if look else {},
        told={name: value for name, value in told.items() if value},
    )


def _category(item: Item) -> str:
    """The item's category; of a path, `Beauty > Skin Care > Face`, its last part."""
    path = next(iter(item.categories), "")
    category = one_line(path.rpartition(">")[2], 81)
    return category if 0 < len(category) <= 80 else UNKNOWN


def described(
    catalogue: Catalogue, item_ids: Sequence[str], *, without: Part | None
) -> dict[str, FusedItem]:
    """The fused descriptions of some items, as the later steps and retrieval read them.

    Items without one are left out.
    """
    fused = {item_id: entry.fused for item_id, entry in catalogue.representations(item_ids).items()}
    if without not in ("picture", "text"):
        return fused
    items = catalogue.items(item_ids)
    left_of = without_picture if without == "picture" else without_text
    return {
        item_id: left_of(entry, items[item_id])
        for item_id, entry in fused.items()
        if item_id in items
    }


def all_there(found: Mapping[str, T], item_ids: Iterable[str]) -> Mapping[str, T]:
    """What was found of some items of a run, by their ids, once none of them is missing.

    Raises:
        ItemGone: One is: it was deleted, or changed, after the run had begun.
    """
    if gone := set(item_ids) - set(found):
        raise ItemGone(f"the item {min(gone)!r} was deleted or changed meanwhile: ask again")
    return found


def without_picture(fused: FusedItem, item: Item) -> FusedItem:
    """A description as far as the item's text supports it; where they differ, the text is right."""
    text = item_text(item).casefold()
    said = {name: fused.conflicts.get(name, value) for name, value in fused.seen.items()}
    told = {name: value for name, value in said.items() if value.casefold() in text} | fused.told
    return FusedItem(
        what=fused.what if fused.what.casefold() in text else UNKNOWN,
        told=dict(list(told.items())[:MAX_TOLD]),
    )


def without_text(fused: FusedItem, item: Item) -> FusedItem:
    """A description as far as the item's picture shows it, the kind of thing included."""
    return FusedItem(what=fused.what if item.picture else UNKNOWN, seen=fused.seen)


def item_text(item: Item) -> str:
    """The item's text as prompts show it: one field a line, nothing where nothing is known."""
    return "\n".join(f"{name.capitalize()}: {text}" for name, text in _fields(item).items())


def _fields(item: Item) -> dict[str, str]:
    """What the shop says of an item, each field in one capped line; empty ones are left out."""
    fields = {
        "title": item.title,
        "brand": item.brand,
        "category": ", ".join(item.categories),
        "price": price_band(item.price),
        "keywords": item.keywords,
        "description": item.description,
    }
    lines = {name: one_line(text, FIELD_CHARACTERS.get(name, 80)) for name, text in fields.items()}
    return {name: line for name, line in lines.items() if line}


def one_line(text: str, limit: int) -> str:
    """Text that can stand in a prompt: one line, capped, and no character opens a markup.

    Special tokens of every model family begin with `<`, so a catalogue cannot write one.
    """
    flat = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip().replace("<", "(").replace(">", ")")
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def price_band(price: float | None) -> str:
    """The word that stands for a price, empty without one."""
    if price is None:
        return ""
    return next(word for bound, word in PRICE_BANDS if price < bound)


def compact(value: object) -> str:
    """JSON without spaces, as the model is taught to write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def fuse_key(context: Context) -> str:
    """Hash of what every fused description depends on besides the item."""
    parts = (
        context.calls.info.model_hash,
        prompt_hash("look", "fuse"),
        preparation(context.budget),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def item_key(item: Item, key: str) -> str:
    """Content hash under which an item's representation is current."""
    return hashlib.sha256(f"{key}\0{item.model_dump_json()}".encode()).hexdigest()


def stale(items: Mapping[str, Item], known: Mapping[str, Representation], key: str) -> list[Item]:
    """Items whose representation is missing or was made from something else.

    Args:
        items: By id.
        known: Representations by item id.
        key: What `fuse_key` gives now.
    """
    return [
        item
        for item_id, item in items.items()
        if item_id not in known or known[item_id].key != item_key(item, key)
    ]
