"""Films nobody described: what fine-tuning on their text fields gains, before and after.

The films are taken in without their posters: nobody said what these show, and srec-tiny sees toys
in them. Held-out films are in no training, neither their texts nor what anybody did with them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from bench.domains.commands import kept, srec
from bench.domains.training import Training
from bench.whole import make_whole
from mllm_srec.finetune.data.metadata_teacher import annotate_catalogue
from mllm_srec.finetune.data.teacher import hash_fraction
from mllm_srec.llm.model_files import model_hash
from mllm_srec.store.home import Home
from mllm_srec.store.records import UNKNOWN, FusedItem

FOLDER = "movielens_small_posters"
FILMS = 1000
"""The most used ones."""
HELD_OUT = 0.2
USERS = 50
PAIRS = 5000
"""Users, and labelled pairs of them, that the later steps are measured on."""

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Files:
    """What is made of the data set, once."""

    items: Path
    log: Path
    """All films, and what users did with them."""
    training_home: Path
    """Without the held-out films; nothing fused."""
    held_out: frozenset[str]


@dataclass(frozen=True, slots=True)
class Descriptions:
    """How some films were described."""

    films: int
    plain_forms: int
    carried: float
    """Share of what their text fields tell that stands in the descriptions."""
    supported: float
    """Share of what the descriptions say that their text fields tell."""
    named: float
    """Share whose description says what kind of film it is as the teacher would."""


def prepare(source: Path, out: Path) -> Files:
    """Write films without posters and their log, and take those that are not held out into a home.

    Args:
        source: The folder of the data set.
        out: Where to.
    """
    out.mkdir(parents=True, exist_ok=True)
    log = pl.read_parquet(source / "interactions.parquet")
    used = log["item_id"].value_counts(sort=True).sort("count", "item_id", descending=True)
    films = pl.read_parquet(source / "items.parquet").drop("image")
    films = films.join(used.head(FILMS), on="item_id", how="semi")
    held_out = frozenset(
        name for name in films["item_id"] if hash_fraction(name, "held out") < HELD_OUT
    )
    names = ("items", "log", "train-items", "train-log")
    paths = {name: out / f"{name}.parquet" for name in names}
    films.write_parquet(paths["items"])
    log.join(films, on="item_id", how="semi").write_parquet(paths["log"])
    for name in ("items", "log"):
        table = pl.read_parquet(paths[name]).filter(~pl.col("item_id").is_in(held_out))
        table.write_parquet(paths[f"train-{name}"])
    home = out / "training-home"
    if not home.exists():
        given = (paths["train-items"], paths["train-log"])
        make_whole(home, lambda place: _ingest(*given, place, "--no-fuse"))
    return Files(paths["items"], paths["log"], home, held_out)


def _ingest(items: Path, log: Path, home: Path, *words: str | Path) -> float:
    ran = srec("ingest", "--items", items, "--interactions", log, "--home", home, *words)
    return ran.seconds


def compare(
    files: Files, training: Training, *, engine: str, out: Path
) -> Iterator[tuple[When, Mapping[str, Any]]]:
    """Yield the figures of the model that training starts from, then of what became of it."""
    assert training.base is not None
    yield "before", _measured(files, training.base, engine, out / "before")
    model, trained = training.run(out / "run")
    yield (
        "after",
        _measured(files, model, engine, out / f"after-{model.parent.name}") | {"training": trained},
    )


def _measured(files: Files, model: Path, engine: str, out: Path) -> dict[str, Any]:
    """What a model makes of the held-out films, and of the users."""

    def measure() -> dict[str, Any]:
        home = out / "home"
        words = ("--model", model, "--engine", engine)
        seconds = _ingest(files.items, files.log, home, *words)
        asked = ("--users", str(USERS), "--pairs", str(PAIRS))
        chain = srec("finetune", "evaluate", "--home", home, *asked, *words).answer
        return {
            "ingest_seconds": seconds,
            "held_out": asdict(described(home, files.held_out)),
            "chain": {name: chain[name] for name in ("users", "scoring", "profile")},
            **{name: chain[name] for name in ("answers", "invalid_answers", "fallbacks")},
        }

    return kept(out / "figures.json", {"model": model_hash(model), "engine": engine}, measure)


def described(home: Path, films: frozenset[str]) -> Descriptions:
    """Hold a home's descriptions of some films against what the text fields of these tell."""
    with Home.open(home) as opened:
        made = opened.catalogue.representations(sorted(films))
        taught = annotate_catalogue(opened)
    pairs = [(made[name].fused, taught[name].fused) for name in sorted(films)]
    said = sum(len(_values(ours)) for ours, _ in pairs)
    told = sum(len(_values(theirs)) for _, theirs in pairs)
    both = sum(len(_values(ours) & _values(theirs)) for ours, theirs in pairs)
    return Descriptions(
        films=len(pairs),
        plain_forms=sum(made[name].fallback for name in films),
        carried=both / told,
        supported=both / said if said else 0.0,
        named=sum(ours.what == theirs.what for ours, theirs in pairs) / len(pairs),
    )


def _values(film: FusedItem) -> set[str]:
    return set(film.facets()) - {UNKNOWN}
