"""The class of a garment from its photograph alone: how many photographs does it take?

The items that the model reads have no text: the class stands in the labels of the training photos
and, for measuring, in those of the other two splits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl
from scipy.stats import binomtest

from bench.domains.commands import kept, srec
from bench.domains.training import Training
from bench.whole import make_whole
from mllm_srec.llm.model_files import model_hash

FOLDER = "clothing_photos"
COUNTS = (250, 500, 1000)
"""Training photographs of the curve, before all of them."""
SEED = 1

Start = Literal["srec-tiny", "scratch"]
STARTS: tuple[Start, ...] = get_args(Start)
Part = Literal["validation", "test"]


@dataclass(frozen=True, slots=True)
class Files:
    """What is made of the data set, once."""

    home: Path
    """All photographs, no text, nothing fused."""
    labels: dict[int, Path]
    """Of so many training photographs; each holds the smaller ones."""
    measured: dict[Part, Path]
    """Labels of the other two splits."""


@dataclass(frozen=True, slots=True)
class Point:
    """One model of the curve."""

    photos: int
    start: Start
    items: int
    right: int
    """Photographs of which the look step names the class."""
    described: float
    """Share whose fused description names the class."""
    plain_forms: int
    majority: float
    """Share of the most frequent class."""
    types: dict[str, dict[str, float]]
    """Photographs of each class, and the share named right."""
    training: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Share of the photographs whose class is named right."""
        return self.right / self.items

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 % over the photographs."""
        found = binomtest(self.right, self.items).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def prepare(source: Path, out: Path) -> Files:
    """Write items without text, labels apart, and take the photographs into a home.

    Args:
        source: The folder of the data set.
        out: Where to.
    """
    out.mkdir(parents=True, exist_ok=True)
    photos = pl.read_parquet(source / "items.parquet")
    labels = photos.select("item_id", "split", what=pl.col("categories").list.first())
    train = labels.filter(pl.col("split") == "train").sort("item_id")
    train = train.sample(fraction=1.0, shuffle=True, seed=SEED).drop("split")
    files = Files(
        home=out / "home",
        labels={count: out / f"train-{count}.parquet" for count in (*COUNTS, len(train))},
        measured={part: out / f"{part}.parquet" for part in get_args(Part)},
    )
    for count, path in files.labels.items():
        train.head(count).write_parquet(path)
    for part, path in files.measured.items():
        labels.filter(pl.col("split") == part).drop("split").write_parquet(path)
    if not files.home.exists():
        photos.select("item_id", "image").write_parquet(out / "items.parquet")
        given = ("--items", out / "items.parquet", "--images", source)
        make_whole(files.home, lambda home: srec("ingest", "--no-fuse", *given, "--home", home))
    return files


def points(
    files: Files,
    trainings: dict[Start, Training],
    counts: Sequence[int],
    *,
    part: Part,
    engine: str,
    out: Path,
) -> Iterator[Point]:
    """Train and measure, most photographs first; what is finished is read from its files."""
    for count in sorted(counts, reverse=True):
        for start, training in trainings.items():
            labelled = replace(training, labels=files.labels[count])
            model, trained = labelled.run(out / f"{count}-{start}")
            yield _point(count, start, _measured(files, model, part, engine), trained)


def _measured(files: Files, model: Path, part: Part, engine: str) -> dict[str, Any]:
    def measure() -> dict[str, Any]:
        given = ("--home", files.home, "--truth", files.measured[part], "--model", model)
        return srec("finetune", "evaluate", *given, "--engine", engine).answer

    asked = {"part": part, "engine": engine, "model": model_hash(model)}
    return kept(model.parent / f"{part}.json", asked, measure)


def _point(
    photos: int, start: Start, figures: Mapping[str, Any], trained: Mapping[str, Any]
) -> Point:
    fusion = figures["fusion"]
    types = fusion["types_by_picture"]
    return Point(
        photos=photos,
        start=start,
        items=fusion["pictures"],
        right=round(sum(one["items"] * one["right"] for one in types.values())),
        described=fusion["type_accuracy"],
        plain_forms=figures["fallbacks"],
        majority=fusion["chance"]["type"],
        types=types,
        training=dict(trained),
    )
