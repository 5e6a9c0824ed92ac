"""Pictures and texts held against labels: photographs of a home where nobody chose anything."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.recommender import Recommender
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.chain import ChainOptions, evaluate_chain
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.pictures import open_prepared
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from mllm_srec.store.records import Item
from tests.agent.shop import MODEL

COLOURS = {"pants": (200, 20, 20), "hat": (20, 20, 200), "shoe": (20, 160, 20)}
PHOTOS = {"a": "pants", "b": "pants", "c": "hat", "d": "shoe"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home", create=True) as opened:
        items = list[Item]()
        for item_id, what in PHOTOS.items():
            file = io.BytesIO()
            Image.new("RGB", (30, 30 + len(items)), COLOURS[what]).save(file, "PNG")
            items.append(Item(item_id=item_id, picture=opened.pictures.add(file.getvalue())))
        opened.catalogue.put_items([*items, Item(item_id="bare", title="A felt hat")])
        yield opened


def labels(folder: Path, **columns: list[str | None]) -> Path:
    path = folder / "labels.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def measured(home: Home, answer: Callable[[Prompt], str], said: Path) -> dict[str, Any]:
    with Deployment(home, engine=ScriptedEngine(answer=answer), model=MODEL) as deployment:
        return evaluate_chain(Recommender(deployment), ChainOptions(truth=said)).figures


def sees(prompt: Prompt) -> str:
    """Know pants and hats, take shoes for hats; say of a text what its last word is."""
    text = prompt.messages[1].text
    if prompt.messages[1].pictures:
        red = open_prepared(prompt.messages[1].pictures[0]).getpixel((48, 48))
        assert isinstance(red, tuple)
        return compact({"what": "pants" if red[0] > 100 else "hat", "seen": {}})
    look = text.partition("Picture: ")[2].partition("\n")[0]
    if look != "none":
        return look
    return compact({"what": "hat" if "hat" in text else "unknown"})


def test_types_are_counted_by_picture_text_and_both(home: Home, tmp_path: Path) -> None:
    what = [*PHOTOS.values(), "hat"]
    said = labels(tmp_path, item_id=[*PHOTOS, "bare"], what=list[str | None](what))
    found = measured(home, sees, said)
    fusion = found["fusion"]
    assert fusion["picture_alone"]["type"] == 3 / 4
    assert fusion["text_alone"]["type"] == 0
    assert fusion["type_accuracy"] == 4 / 5
    assert fusion["chance"]["type"] == 1 / 2
    assert (fusion["items"], fusion["pictures"], fusion["unread"]) == (5, 4, 0)
    assert fusion["types_by_picture"] == {
        "hat": {"items": 1, "right": 1.0},
        "pants": {"items": 2, "right": 1.0},
        "shoe": {"items": 1, "right": 0.0},
    }
    assert found["fallbacks"] == found["invalid_answers"] == 0


def test_what_the_labels_do_not_know_is_left_open(home: Home, tmp_path: Path) -> None:
    said = labels(tmp_path, item_id=["a", "c"], what=["pants", None], colour=["red", None])
    fusion = measured(home, sees, said)["fusion"]
    assert fusion["picture_alone"] == {"type": 1, "colour": 0, "pattern": None, "style": None}
    assert fusion["chance"]["colour"] == 1
    assert fusion["hallucination_rate"] is None
    assert fusion["copy_accuracy"] is None


def test_a_picture_of_which_nothing_is_said_is_wrong_and_counted(
    home: Home, tmp_path: Path
) -> None:
    said = labels(tmp_path, item_id=list(PHOTOS), what=list[str | None](PHOTOS.values()))
    found = measured(home, lambda prompt: "no", said)
    assert found["fusion"]["picture_alone"]["type"] == 0
    assert found["fusion"]["unread"] == 4
    # Four questions about pictures, four about what they and no text make together.
    assert found["fallbacks"] == 8


def test_labels_of_another_catalogue_are_refused(home: Home, tmp_path: Path) -> None:
    said = labels(tmp_path, item_id=["a", "z9"], what=["pants", "hat"])
    with pytest.raises(FinetuneError, match=r"1 of the 2 labelled items.*'z9'.*srec ingest"):
        measured(home, sees, said)
