"""The split as parquet files for programs of another environment, and their lists read back.

What is written: `train.parquet` (the likes of the training part), `validation.parquet` (likes
before the target, and the target), `test.parquet` (likes before the target, no target), and
`items.parquet` (text, and the fused vector where there is one). A case has a name of its own, since
a user may have several.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mllm_srec.agent.nodes.fuse_items import item_text
from mllm_srec.finetune.data.splits import Case, Split
from mllm_srec.store.records import Interaction, Item
from mllm_srec.tools.likes import likes


@dataclass(frozen=True, slots=True)
class Asked:
    """The cases that lists are wanted for."""

    validation: Sequence[Case]
    test: Sequence[Case]


def split_name(split: Split, asked: Asked) -> str:
    """A name that another split, or another choice of its cases, does not have."""
    digest = hashlib.sha256("\0".join(split.item_ids).encode())
    digest.update(split.train.hash_rows(seed=0).to_numpy().tobytes())
    for cases in (asked.validation, asked.test):
        digest.update("\0".join(case_name(case.history) for case in cases).encode())
    return digest.hexdigest()[:12]


def vectors_name(item_ids: Sequence[str], vectors: Mapping[str, NDArray[np.float32]]) -> str:
    """A name that the vectors of other descriptions do not have."""
    digest = hashlib.sha256()
    for item_id in item_ids:
        digest.update(vectors[item_id].tobytes() if item_id in vectors else b"none")
    return f"vectors-{digest.hexdigest()[:12]}"


def case_name(history: Sequence[Interaction]) -> str:
    """The name of the case that a history leads to."""
    last = history[-1]
    return f"{last.user_id} after {last.position}"


def write_split(
    split: Split,
    asked: Asked,
    folder: Path,
    *,
    items: Mapping[str, Item],
    vectors: Mapping[str, NDArray[np.float32]],
    min_rating: float | None,
) -> None:
    """Write what other programs may know of a split; no test target is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ("user_id", "item_id", "position")
    split.liked(min_rating).select(columns).write_parquet(folder / "train.parquet")
    for name, cases in (("validation", asked.validation), ("test", asked.test)):
        table = _histories(cases, min_rating)
        targets = pl.Series("target", [case.target for case in cases], dtype=pl.String)
        known = table.with_columns(targets) if name == "validation" else table
        known.write_parquet(folder / f"{name}.parquet")
    pl.DataFrame(
        {
            "item_id": split.item_ids,
            "text": [item_text(items[item_id]) for item_id in split.item_ids],
            "vector": [
                vectors[item_id].tolist() if item_id in vectors else None
                for item_id in split.item_ids
            ],
        },
        schema_overrides={"vector": pl.List(pl.Float32)},
    ).write_parquet(folder / "items.parquet")


def _histories(cases: Sequence[Case], min_rating: float | None) -> pl.DataFrame:
    liked = [likes(case.history, min_rating) for case in cases]
    return pl.DataFrame(
        {"case": [case_name(case.history) for case in cases], "history": liked},
        schema={"case": pl.String, "history": pl.List(pl.String)},
    )


@dataclass(frozen=True)
class Lists:
    """The lists that another program made for the cases, as a scorer.

    What is not in a list stands below all that is, in no order; a case without a list gets the
    same score for every item.
    """

    rows: Mapping[str, int]
    lists: Mapping[str, tuple[Sequence[str], Sequence[float]]]
    about: Mapping[str, Any]
    """What the program says of itself: settings, versions, seconds, validation figures."""

    @classmethod
    def read(cls, folder: Path, name: str, split: Split) -> "Lists":
        """Read what `peers/fit.py` wrote."""
        table = pl.read_parquet(folder / f"{name}.parquet")
        return cls(
            rows={item_id: row for row, item_id in enumerate(split.item_ids)},
            lists={case: (items, scores) for case, items, scores in table.iter_rows()},
            about=json.loads((folder / f"{name}.json").read_text("utf-8")),
        )

    def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.float64]:
        """Score every item for each history (U, N); a history is known by its case."""
        found = np.zeros((len(histories), len(self.rows)))
        for row, history in enumerate(histories):
            items, scores = self.lists.get(case_name(history), ((), ()))
            if items:
                found[row] = min(scores) - 1.0
                found[row, [self.rows[item_id] for item_id in items]] = scores
        return found
