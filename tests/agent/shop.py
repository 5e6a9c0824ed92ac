"""A shop of eight items small enough to reckon with, and an engine that answers by rule."""

import io
import re
import threading
import time
from pathlib import Path
from typing import NoReturn

from PIL import Image

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.pictures import open_prepared
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.llm.stopping import governing
from mllm_srec.store.home import Home
from mllm_srec.store.records import DAY_S, Interaction, Item

MODEL = Path(__file__).parents[2] / "llm" / "srec-tiny"
"""Only its picture budget is read: the answers are scripted."""
COLOURS = {"red": (200, 20, 20), "blue": (20, 20, 200), "green": (20, 160, 20)}
ITEMS = {
    "i1": ("rattle", "red", "wood"),
    "i2": ("kite", "red", "cotton"),
    "i3": ("drum", "red", "wood"),
    "i4": ("robot", "blue", "steel"),
    "i5": ("train", "blue", "wood"),
    "i6": ("ball", "blue", "rubber"),
    "i7": ("puzzle", "green", "wood"),
    "i8": ("duck", "green", "rubber"),
}
LOG = {
    "mia": [("i1", 5), ("i2", 5), ("i4", 1), ("i3", 4), ("i5", 5), ("i6", 4)],
    "ben": [("i1", 5), ("i3", 5), ("i7", 4), ("i5", 4)],
    "ada": [("i2", 5), ("i3", 4)],
}


def fill(home: Home) -> None:
    """Write the eight items and three users."""
    items = []
    for item_id, (what, colour, material) in ITEMS.items():
        picture = io.BytesIO()
        Image.new("RGB", (40, 40), COLOURS[colour]).save(picture, "PNG")
        items.append(
            Item(
                item_id=item_id,
                title=f"Fine {what}",
                description=f"Made of {material}.",
                price=20.0,
                picture=home.pictures.add(picture.getvalue()),
            )
        )
    home.catalogue.put_items(items)
    home.catalogue.put_interactions(
        Interaction(
            user_id=user,
            item_id=item_id,
            position=position,
            rating=rating,
            timestamp=1_700_000_000 + position * DAY_S,
        )
        for user, log in LOG.items()
        for position, (item_id, rating) in enumerate(log)
    )


def answer(prompt: Prompt) -> str:
    """Answer each step as a model that does well would."""
    text = prompt.messages[1].text
    if text.startswith("What does the picture show?"):
        return _look(prompt)
    if text.startswith("Merge"):
        what = re.search(r"Title: Fine (\w+)", text)
        material = re.search(r"Made of (\w+)", text)
        colour = re.search(r'"colour":"(\w+)"', text)
        assert what
        assert material
        seen = {"colour": colour[1]} if colour else {}
        fused = {"what": what[1], "seen": seen, "told": {"material": material[1]}, "conflicts": {}}
        return compact(fused)
    if text.startswith("Update what"):
        liked = re.findall(r"- liked, [^:]*: (\w+): (\w+); (\w+)", text)
        return compact({"strong": list(dict.fromkeys(v for line in liked for v in line))[:6]})
    if text.startswith("Describe the stable taste"):
        shown = text.partition("Of the disliked")[0]
        shares = re.findall(r"^(?:half|a third|a sixth): (.*)$", shown, re.MULTILINE)
        return compact({"loves": [value for line in shares for value in line.split(", ")]})
    if text.startswith("Say in one sentence"):
        item = re.search(r"Item: (\w+)", text)
        assert item
        cites = [1] if "[1]" in text else []
        return compact({"reason": f"This {item[1]} suits you.", "cites": cites})
    raise AssertionError(f"no rule for {text[:60]!r}")


def _look(prompt: Prompt) -> str:
    image = open_prepared(prompt.pictures[0])
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    name = min(
        COLOURS, key=lambda c: sum(abs(a - b) for a, b in zip(COLOURS[c], pixel, strict=True))
    )
    return compact({"what": "toy", "seen": {"colour": name}})


def score(prompt: Prompt, labels: object) -> dict[str, float]:
    """Say yes to red things."""
    red = "red" in prompt.messages[1].text.rpartition("Item: ")[2]
    return {"Yes": -0.1, "No": -2.3} if red else {"Yes": -2.3, "No": -0.1}


def work_until_stopped(begun: threading.Event, ended: threading.Event) -> NoReturn:
    """Work as an engine does that is told to stop; says when it begins and that it ended."""
    begun.set()
    try:
        while True:
            governing().check()
            time.sleep(0.001)
    finally:
        ended.set()


def scripted() -> ScriptedEngine:
    """An engine that answers by these rules."""
    return ScriptedEngine(answer=answer, score=score)


def deploy(path: Path, engine: ScriptedEngine) -> Deployment:
    """The shop in a home, with an engine on top."""
    home = Home.open(path, create=True)
    if not home.catalogue.item_count():
        fill(home)
    return Deployment(home, engine=engine, model=MODEL)
