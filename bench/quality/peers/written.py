"""The written split as a peer sees it, and what it tries on it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LENGTH = 500
"""Items of a list; AUC beyond it counts as a tie."""
TUNED_BY = 100
"""Settings are chosen by the NDCG of so many items, as for the closed-form baselines: ten rest on
the few targets near the top."""
SEED = 1

Lists = dict[str, tuple[list[str], list[float]]]
"""Case to items, best first, with scores."""


@dataclass(frozen=True)
class Data:
    """The folder that `exchange.write_split` wrote."""

    folder: Path

    @cached_property
    def train(self) -> pd.DataFrame:
        """Likes of the training part: user_id, item_id, position."""
        return pd.read_parquet(self.folder / "train.parquet")

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """Cases to tune on: case, history, target."""
        return pd.read_parquet(self.folder / "validation.parquet")

    @cached_property
    def asked(self) -> pd.DataFrame:
        """Cases to make lists for: case, history; of both parts, so that both can be scored."""
        test = pd.read_parquet(self.folder / "test.parquet")
        return pd.concat([test, self.tuning[["case", "history"]]], ignore_index=True)

    @cached_property
    def items(self) -> pd.DataFrame:
        """The catalogue: item_id, text, vector."""
        return pd.read_parquet(self.folder / "items.parquet")

    @cached_property
    def vectors(self) -> np.ndarray:
        """Fused vectors (N, D) of length 1, in the order of the items."""
        if self.items["vector"].isna().any():
            raise SystemExit("this model needs the vectors of all items: fuse the home first")
        vectors = np.stack(self.items["vector"].to_list()).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Place of each item in the catalogue."""
        return {item_id: row for row, item_id in enumerate(self.items["item_id"])}


@dataclass(frozen=True)
class Trial:
    """One fitted model."""

    data: Data
    settings: dict[str, Any]
    make: Callable[[pd.DataFrame], Lists]
    """Lists of histories."""

    @cached_property
    def gain(self) -> float:
        """NDCG@100 on the validation part."""
        lists, cases = self.make(self.data.tuning), self.data.tuning
        gains = []
        for case, target in zip(cases["case"], cases["target"], strict=True):
            first = lists.get(case, ([], []))[0][:TUNED_BY]
            gains.append(1 / np.log2(first.index(target) + 2) if target in first else 0.0)
        return float(np.mean(gains))
