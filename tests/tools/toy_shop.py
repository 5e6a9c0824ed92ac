"""A home of six described items, without a model: vectors are one direction a word."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from mllm_srec.store.manifest import IndexFacts
from mllm_srec.store.records import FusedItem, Interaction, Item, Representation

ROWS = {
    "b1": ("Comet bib", "baby", 9.5, "bib", "red", "cotton", "Nordlund"),
    "b2": ("Comet crib", "baby", 120.0, "crib", "white", "bamboo", "Nordlund"),
    "t1": ("Maple train", "toys", 24.0, "train", "red", "wool", "Torbidan"),
    "t2": ("Atlas robot", "toys", 39.9, "robot", "blue", "steel", "Torbidan"),
    "s1": ("Atlas ball", "sports", None, "ball", "blue", "rubber", "Yorkequa"),
    "s2": ("Maple No. 6", "sports", 14.0, "ball", "green", "leather", "Yorkequa"),
}
LOG = {"mia": ("b1", "t1"), "ben": ("s1",)}
_ENGINE = ScriptedEngine(dimension=32)


async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Texts that share words are near."""
    return _ENGINE.embed(texts)


def toy_home(path: Path) -> Home:
    """The six items, described, with vectors, and two users."""
    home = Home.open(path, create=True)
    home.catalogue.put_items(
        Item(item_id=item_id, title=title, categories=(department,), price=price, brand=brand)
        for item_id, (title, department, price, *_, brand) in ROWS.items()
    )
    described = [
        Representation(
            item_id=item_id,
            fused=FusedItem(what=what, seen={"colour": colour}, told={"material": material}),
            key="k",
        )
        for item_id, (_, _, _, what, colour, material, _) in ROWS.items()
    ]
    facts = IndexFacts(
        model="m", model_hash="h", prompt_hash="p", preparation_hash="q", dimension=32
    )
    home.representations.use(facts)
    home.representations.put(
        [each.item_id for each in described],
        _ENGINE.embed([each.fused.line for each in described]),
    )
    home.catalogue.put_representations(described)
    home.catalogue.put_interactions(
        Interaction(user_id=user, item_id=item_id, position=position, timestamp=1_000 + position)
        for user, log in LOG.items()
        for position, item_id in enumerate(log)
    )
    return home
