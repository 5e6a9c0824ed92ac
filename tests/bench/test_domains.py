"""What `bench.domains` makes of the data sets, and of what it measured."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import polars as pl
import pytest
from PIL import Image

from bench.domains import clothing, films
from bench.domains.clothing import Point
from bench.domains.commands import Ran, kept
from bench.domains.curve import draw, table
from bench.domains.training import Training
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Item, Representation

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "finetune" / "recipes"
SCRATCH = ROOT / "bench" / "domains" / "from_scratch.toml"
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the public data sets in ../shared/data"
)
POINT = Point(
    photos=250, start="scratch", items=200, right=80, described=0.4, plain_forms=0, majority=0.25,
    types={}, training={},
)  # fmt: skip


def photographs(folder: Path) -> Path:
    """Six photographs in the form of the data set."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(6):
        image = f"images/{number}.jpg"
        Image.new("RGB", (40, 30), (40 * number, 0, 0)).save(folder / image)
        split = ("train", "train", "train", "train", "validation", "test")[number]
        rows.append(
            {"item_id": f"p{number}", "categories": ["hat"], "image": image, "split": split}
        )
    pl.DataFrame(rows).write_parquet(folder / "items.parquet")
    return folder


def test_photographs_go_into_a_home_without_their_class(tmp_path: Path) -> None:
    files = clothing.prepare(photographs(tmp_path / "set"), tmp_path / "out")
    with Home.open(files.home) as home:
        items = home.catalogue.items()
        assert home.catalogue.interaction_count() == 0
    assert len(items) == 6
    for item_id, item in items.items():
        assert item.picture is not None
        assert item == Item(item_id=item_id, picture=item.picture)
    labels = pl.read_parquet(files.labels[4])
    assert sorted(labels["item_id"]) == ["p0", "p1", "p2", "p3"]
    assert set(labels["what"]) == {"hat"}
    measured = {part: pl.read_parquet(path) for part, path in files.measured.items()}
    assert measured["validation"]["item_id"].to_list() == ["p4"]
    assert measured["test"]["item_id"].to_list() == ["p5"]
    # Made once: the home is not taken in again.
    before = (files.home / "home.json").stat().st_mtime_ns
    assert clothing.prepare(tmp_path / "set", tmp_path / "out") == files
    assert (files.home / "home.json").stat().st_mtime_ns == before


@needs_data
def test_training_photographs_are_those_of_the_split_and_each_number_holds_the_smaller(
    tmp_path: Path,
) -> None:
    (tmp_path / "home").mkdir()
    files = clothing.prepare(DATA / clothing.FOLDER, tmp_path)
    split = dict(
        pl.read_parquet(DATA / clothing.FOLDER / "items.parquet")
        .select("item_id", "split")
        .iter_rows()
    )
    assert list(files.labels) == [250, 500, 1000, 3068]
    smaller: set[str] = set()
    for count, path in files.labels.items():
        chosen = set(pl.read_parquet(path)["item_id"])
        assert len(chosen) == count
        assert {split[name] for name in chosen} == {"train"}
        assert smaller <= chosen
        smaller = chosen
    for part, path in files.measured.items():
        assert {split[name] for name in pl.read_parquet(path)["item_id"]} == {part}


@needs_data
def test_held_out_films_are_in_no_file_that_training_reads(tmp_path: Path) -> None:
    (tmp_path / "training-home").mkdir()
    files = films.prepare(DATA / films.FOLDER, tmp_path)
    assert 150 < len(files.held_out) < 250
    every = set(pl.read_parquet(files.items)["item_id"])
    assert len(every) == films.FILMS
    assert files.held_out < every
    for name in ("train-items", "train-log"):
        table = pl.read_parquet(tmp_path / f"{name}.parquet")
        assert set(table["item_id"]) == every - files.held_out
        assert "image" not in table.columns


def test_descriptions_are_held_against_what_the_text_fields_tell(tmp_path: Path) -> None:
    made = {
        # All told, and one thing more; nothing but the kind; another kind; not asked about.
        "f1": FusedItem(what="Drama", told={"year": "1995", "brand": "Heat"}),
        "f2": FusedItem(what="Comedy"),
        "f3": FusedItem(what="Western", told={"year": "1997"}),
        "f4": FusedItem(what="unknown"),
    }
    with Home.open(tmp_path, create=True) as home:
        home.catalogue.put_items(
            Item(item_id=name, title=f"Heat ({1994 + number})", categories=(genre,))
            for number, (name, genre) in enumerate(
                [("f1", "Drama"), ("f2", "Comedy"), ("f3", "Crime"), ("f4", "War")], 1
            )
        )
        home.catalogue.put_representations(
            Representation(item_id=name, fused=fused, fallback=name == "f2", key="k")
            for name, fused in made.items()
        )
    found = films.described(tmp_path, frozenset({"f1", "f2", "f3"}))
    assert (found.films, found.plain_forms) == (3, 1)
    assert found.carried == pytest.approx(4 / 6)
    assert found.supported == pytest.approx(4 / 6)
    assert found.named == pytest.approx(2 / 3)


def test_both_starts_differ_in_nothing_but_start_and_rates() -> None:
    photos, scratch = Recipe.load(RECIPES / "photos.toml"), Recipe.load(SCRATCH)
    assert scratch.scratch is not None
    same = replace(
        scratch,
        scratch=None,
        learning_rate=photos.learning_rate,
        muon_rate=photos.muon_rate,
    )
    assert same == photos
    # What a table leaves out takes the network's own sizes.
    assert tomllib.loads(SCRATCH.read_text("utf-8"))["scratch"] == {}


@pytest.mark.parametrize("name", ["photos", "films"])
def test_recipes_take_ten_minutes_at_most(name: str) -> None:
    recipe = Recipe.load(RECIPES / f"{name}.toml")
    assert recipe.scratch is None
    assert recipe.minutes is not None
    assert recipe.minutes <= 10


def test_another_question_is_another_training(tmp_path: Path) -> None:
    labels = tmp_path / "labels.parquet"
    labels.write_bytes(b"some")
    training = Training(tmp_path, RECIPES / "photos.toml", base=None, labels=labels)
    assert training.asked == replace(training, home=tmp_path / "other").asked
    assert training.asked != replace(training, minutes=1.0).asked
    assert training.asked != replace(training, recipe=RECIPES / "films.toml").asked
    labels.write_bytes(b"others")
    other = replace(training, labels=labels).asked
    labels.write_bytes(b"some")
    assert other != training.asked


def test_a_recipe_that_counts_steps_is_laid_over_minutes_as_the_command_does(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.toml").write_text("steps = 5\n")
    settings = Training(tmp_path, tmp_path / "own.toml", None, minutes=1.0).settings
    assert (settings.minutes, settings.steps) == (1.0, None)


def test_an_export_that_failed_is_made_again_without_training_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def srec(group: str, command: str, *words: str | Path) -> Ran:
        asked.append(command)
        if command == "export" and asked.count("export") == 1:
            raise CalledProcessError(1, command)
        return Ran(2.0, {"seconds": 9.0, "steps": 3, "validation": {}, "tasks": {"look": 4}})

    monkeypatch.setattr("bench.domains.training.srec", srec)
    training = Training(tmp_path, RECIPES / "photos.toml", base=None)
    with pytest.raises(CalledProcessError):
        training.run(tmp_path / "out")
    _, found = training.run(tmp_path / "out")
    assert asked == ["data", "train", "export", "export"]
    assert found["steps"] == 3
    assert found["records"] == {"look": 4}


def test_what_is_finished_is_kept_until_something_else_is_asked(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"answer": len(made)}

    path = tmp_path / "below" / "answer.json"
    assert kept(path, {"sizes": (1, 2)}, make) == {"answer": 1}
    assert kept(path, {"sizes": (1, 2)}, make) == {"answer": 1}
    assert kept(path, {"sizes": (1, 3)}, make) == {"answer": 2}
    held = json.loads(path.read_text("utf-8"))
    assert held["found"] == {"answer": 2}
    assert held["made"]["versions"]["python"]

    def fail() -> dict[str, Any]:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        kept(path, {"sizes": ()}, fail)
    assert json.loads(path.read_text("utf-8")) == held


def test_the_curve_shows_what_is_there(tmp_path: Path) -> None:
    low, high = POINT.interval
    assert 0.33 < low < POINT.accuracy == 0.4 < high < 0.47
    points = [replace(POINT, photos=3068, start="srec-tiny", right=130), POINT]
    lines = list(table(points))
    assert lines[2] == "| 250 | - | .400 [.335, .469] |"
    assert lines[3].startswith("| 3,068 | .650 [")
    assert lines[3].endswith("| - |")
    draw(points, tmp_path / "curve.png", minutes=8, part="test")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.width > 500
