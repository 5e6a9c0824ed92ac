"""Transformers of RecTools: SASRec, eSASRec, and SASRec with the fused vectors."""

import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet, ItemNetBase
from rectools.models.nn.transformers.ligr import LiGRLayers
from written import LENGTH, SEED, Data, Lists, Trial

SIZES: Sequence[Mapping[str, Any]] = [
    {"n_factors": 64, "dropout_rate": 0.2},
    {"n_factors": 128, "dropout_rate": 0.2},
    {"n_factors": 64, "dropout_rate": 0.4},
    {"n_factors": 128, "dropout_rate": 0.4},
]
NEGATIVES: Mapping[str, Any] = {"loss": "sampled_softmax", "n_negatives": 256}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "sasrec": {"loss": "softmax"},
    # Tikhonovich et al. 2025: SASRec's objective, LiGR layers, sampled softmax.
    "esasrec": {
        **NEGATIVES,
        "transformer_layers_type": LiGRLayers,
    },
    "sasrec-fused": {"loss": "softmax"},
}
LONGEST, WHOLE = 50, 0.95
"""Items of a session at most, and the share of the users whose sessions need no cut: every session
is padded to one length, so that most of the time would go into padding."""
LOOK_EVERY, MOST, PATIENCE = 5, 100, 15
"""Epochs between two looks at validation, epochs at most, and epochs without a gain at the end."""
LOOK_SECONDS = 120.0
"""Where epochs are long, looks are no further apart than this, or one epoch."""
WHOLE_LOSS = 15_000
"""Items up to which the loss of SASRec is over all of them; beyond, on a CPU, an epoch would take
longer than the whole time, and the loss is over drawn negatives, as in eSASRec."""


class FusedVectors(ItemNetBase):
    """Item embeddings projected from the fused vectors, which stay as they are."""

    def __init__(self, vectors: torch.Tensor, factors: int, dropout: float) -> None:
        super().__init__()
        # A buffer: the library draws every parameter anew before training.
        self.register_buffer("vectors", vectors)
        # Without a bias, which would be the same for all items.
        self.project = torch.nn.Linear(vectors.shape[1], factors, bias=False)
        self.dropout = torch.nn.Dropout(dropout)

    @classmethod
    def from_dataset(
        cls, dataset: Dataset, n_factors: int, dropout_rate: float, **kwargs: Any
    ) -> "FusedVectors":
        """Take the vectors (N, D) from the dense features of the items."""
        values = torch.tensor(np.asarray(dataset.item_features.values), dtype=torch.float32)
        return cls(values, n_factors, dropout_rate)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., F) of items (...)."""
        return self.dropout(self.project(self.vectors[items.to(self.device)]))

    @property
    def out_dim(self) -> int:
        """Length of an embedding."""
        return int(self.project.out_features)


def trials(data: Data, name: str, minutes: float) -> Iterator[Trial]:
    """Yield the model after every few epochs, size after size until the time is over.

    The sizes do not share the time evenly: one that was trained to its end says more than four
    that were cut short.
    """
    # Its notes on devices, old arguments and finished epochs would hide ours.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    deadline = time.monotonic() + 60 * minutes
    for size in SIZES:
        if time.monotonic() > deadline:
            break
        seed_everything(SEED, verbose=False)
        model, dataset = _unfitted(data, name, size)
        best, best_at, epochs, more = -1.0, 0, 0, 1
        while epochs < MOST:
            started = time.monotonic()
            model.fit_partial(dataset, min_epochs=more, max_epochs=more)
            epochs += more
            each = (time.monotonic() - started) / more
            more = max(1, min(LOOK_EVERY, int(LOOK_SECONDS / each)))
            trial = Trial(data, {**size, "epochs": epochs}, partial(recommended, model))
            if trial.gain > best:
                best, best_at = trial.gain, epochs
            yield trial
            if epochs - best_at >= PATIENCE or time.monotonic() > deadline:
                break


def _unfitted(data: Data, name: str, size: Mapping[str, Any]) -> tuple[SASRecModel, Dataset]:
    blocks: tuple[type[ItemNetBase], ...] = (IdEmbeddingsItemNet,)
    features: dict[str, Any] = {}
    if name == "sasrec-fused":
        blocks = (IdEmbeddingsItemNet, FusedVectors)
        table = pd.DataFrame(data.vectors).add_prefix("v").assign(id=data.items["item_id"])
        features = {"item_features_df": table, "make_dense_item_features": True}
    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        session_max_len=_session_length(data.train),
        lr=1e-3,
        batch_size=128,
        item_net_block_types=blocks,
        deterministic=True,
        **(KINDS[name] | (NEGATIVES if len(data.items) > WHOLE_LOSS else {})),
        **size,
    )
    return model, Dataset.construct(_interactions(data.train), **features)


def _session_length(train: pd.DataFrame) -> int:
    return min(LONGEST, int(train.groupby("user_id").size().quantile(WHOLE)))


def _interactions(table: pd.DataFrame) -> pd.DataFrame:
    """Likes as RecTools wants them: the position is the time."""
    return pd.DataFrame(
        {
            "user_id": table["user_id"],
            "item_id": table["item_id"],
            "weight": 1.0,
            "datetime": pd.to_datetime(table["position"], unit="s"),
        }
    )


def recommended(model: SASRecModel, histories: pd.DataFrame) -> Lists:
    """The first items of each case whose history has an item that the model knows."""
    long = histories[["case", "history"]].explode("history").dropna()
    # To the library, every case is a user of its own.
    long = long.rename(columns={"case": "user_id", "history": "item_id"})
    long["position"] = long.groupby("user_id").cumcount()
    # Cases without a known item are left out: the scorer knows that they have no list.
    table = model.recommend(
        users=long["user_id"].unique(),
        dataset=Dataset.construct(_interactions(long)),
        k=LENGTH,
        filter_viewed=True,
        on_unsupported_targets="ignore",
    )
    return {
        str(case): (part["item_id"].astype(str).tolist(), part["score"].astype(float).tolist())
        for case, part in table.groupby("user_id", sort=False)
    }
