"""Labels that know no more than what a picture shows: photographs without a text or a log."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from mllm_srec.agent.nodes.fuse_items import VisualAnswer, check_fused
from mllm_srec.finetune.data.records import Record, read_records
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.teacher import (
    Annotation,
    annotate,
    annotate_labelled,
    fuse_record,
    read_labels,
)
from mllm_srec.finetune.data.write import write_data
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.store.errors import InputError
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Item

TYPES = {"p1": "pants", "p2": "longsleeve", "p3": "hat", "p4": "pants"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Five photographs of one colour each; of the last one nobody says what it shows."""
    with Home.open(tmp_path / "home", create=True) as opened:
        items = []
        for number, item_id in enumerate([*TYPES, "unlabelled"]):
            file = io.BytesIO()
            Image.new("RGB", (40, 30), (40 * number, 90, 200)).save(file, "JPEG")
            items.append(Item(item_id=item_id, picture=opened.pictures.add(file.getvalue())))
        opened.catalogue.put_items(items)
        yield opened


def labels(folder: Path, **columns: list[str]) -> Path:
    path = folder / "labels.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def records(home: Home, folder: Path) -> list[Record]:
    said = labels(folder, item_id=list(TYPES), what=list(TYPES.values()))
    settings = DataSettings(messages=0, validation_share=0.0)
    write_data(home, said, folder / "sft", settings)
    found = list(read_records(folder / "sft" / "train.jsonl"))
    return [record for record in found if isinstance(record, Record)]


def test_what_alone_teaches_to_look(home: Home, tmp_path: Path) -> None:
    looks = [record for record in records(home, tmp_path) if record.task == "look"]
    pictures = {item.picture: item_id for item_id, item in home.catalogue.items().items()}
    taught = {pictures[record.images[0]]: record.completion[0].text for record in looks}
    assert {name: json.loads(text) for name, text in taught.items()} == {
        name: {"what": what, "seen": {}} for name, what in TYPES.items()
    }


def test_no_prompt_about_a_picture_says_what_it_shows(home: Home, tmp_path: Path) -> None:
    found = records(home, tmp_path)
    looks = [turn.text for record in found if record.task == "look" for turn in record.prompt]
    assert looks
    assert not {word for text in looks for word in re.findall(r"\w+", text)} & {*TYPES.values()}
    # The merging reads the answer about the picture, and has no text.
    for record in found:
        if record.task == "fuse":
            assert record.prompt[1].text.rstrip().endswith("<item>\nnone\n</item>")


def test_merging_is_taught_as_it_is_checked(home: Home, tmp_path: Path) -> None:
    fuses = [record for record in records(home, tmp_path) if record.task == "fuse"]
    assert {json.loads(record.completion[0].text)["what"] for record in fuses} >= {*TYPES.values()}
    for record in fuses:
        shown = record.prompt[1].text.partition("Picture: ")[2].partition("\n")[0]
        look = None if shown == "none" else VisualAnswer.model_validate_json(shown)
        check_fused(record.completion[0].text, Item(item_id="p"), look)


def test_colour_and_type_are_seen_where_there_is_a_picture_and_told_elsewhere() -> None:
    label = {"what": "hat", "colour": "red", "material": "felt"}
    seen = annotate(label, pictured=True)
    assert seen.look == VisualAnswer(what="hat", seen={"colour": "red"})
    assert seen.fused == FusedItem(what="hat", seen={"colour": "red"}, told={"material": "felt"})
    told = annotate(label, pictured=False)
    assert told.look is None
    assert told.fused == FusedItem(what="hat", told={"colour": "red", "material": "felt"})


def test_labels_of_items_that_the_home_lacks_are_left_out(home: Home, tmp_path: Path) -> None:
    said = read_labels(labels(tmp_path, item_id=["p3", "other"], what=["hat", "shoe"]))
    assert list(annotate_labelled(home.catalogue.items(), said)) == ["p3"]


def test_ids_that_are_numbers_are_those_that_were_ingested(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pl.DataFrame({"item_id": [7, None], "what": ["hat", "shoe"]}).write_parquet(path)
    assert list(annotate_labelled({"7": Item(item_id="7")}, read_labels(path))) == ["7"]


def test_a_blank_label_says_nothing() -> None:
    label = {"what": "", "colour": "red", "material": " "}
    assert annotate(label, pictured=True).fused == FusedItem(what="unknown", seen={"colour": "red"})


def test_labels_of_another_shop_are_refused(home: Home, tmp_path: Path) -> None:
    said = labels(tmp_path, item_id=["x1", "x2"], what=["hat", "shoe"])
    problem = r"none of the 2 labelled items is among the 5 of the home \('x1'; 'p1'\)"
    with pytest.raises(FinetuneError, match=problem):
        write_data(home, said, tmp_path / "sft", DataSettings(messages=0))


def test_a_label_that_no_description_can_hold_is_named(home: Home, tmp_path: Path) -> None:
    said = read_labels(labels(tmp_path, item_id=["p3"], what=["hat"], material=["felt " * 20]))
    with pytest.raises(
        FinetuneError, match=r"item 'p3' say 'felt .*in 'told\.material'.*at most 80"
    ):
        annotate_labelled(home.catalogue.items(), said)


def test_a_file_without_labels_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FinetuneError, match=r"say nothing but \['kind'\]: .*'what'"):
        read_labels(labels(tmp_path, item_id=["p1"], kind=["pants"]))
    with pytest.raises(InputError, match=r"nowhere\.parquet' cannot be read"):
        read_labels(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("what,item_id", "utf-8")
    with pytest.raises(InputError, match=r"text\.parquet' is no readable Parquet file"):
        read_labels(tmp_path / "text.parquet")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "item_id,what,colour\np1,hat,\n7,shoe,red\n,kite,blue\n"),
        (
            "labels.jsonl",
            '{"item_id": "p1", "what": "hat"}\n{"item_id": 7, "what": "shoe", "colour": "red"}\n',
        ),
    ],
)
def test_labels_come_in_the_formats_of_items(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    items = {item_id: Item(item_id=item_id) for item_id in ("p1", "7")}
    annotated = annotate_labelled(items, read_labels(tmp_path / name))
    assert {item_id: each.fused for item_id, each in annotated.items()} == {
        "p1": FusedItem(what="hat"),
        "7": FusedItem(what="shoe", told={"colour": "red"}),
    }


def test_a_row_of_labels_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("item_id,what\np1,hat\np2\n", "utf-8")
    with pytest.raises(FinetuneError, match=r"labels\.csv', line 3: 1 fields where the header"):
        read_labels(path)
    path.write_text(f"item_id,what\n{'p' * 300},hat\n", "utf-8")
    with pytest.raises(FinetuneError, match=r"line 2, item_id: 300 characters"):
        read_labels(path)


def test_values_are_taught_as_the_text_writes_them_and_read_as_annotated() -> None:
    item = Item(item_id="i", title="Kite for school", description="Cotton. By Nordlund.")
    told = {"material": "cotton", "purpose": "school", "brand": "Nordlund"}
    fused = FusedItem(what="kite", told=told)
    answer = fuse_record(item, Annotation(None, fused)).completion[0].text
    assert json.loads(answer)["what"] == "Kite"
    assert json.loads(answer)["told"] == told | {"material": "Cotton"}
    assert check_fused(answer, item, None) == fused
