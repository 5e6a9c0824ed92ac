"""From encoded records to batches: padding, the masks of trees, pictures, augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mllm_srec.finetune.training.augment import Augmentation
from mllm_srec.finetune.training.encode import IGNORED, Encoded
from mllm_srec.finetune.training.picture_words import PICTURE_WORDS
from mllm_srec.finetune.training.record_pictures import Pictures


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes the batch of some encoded records of one task.

    The rows of a batch are right-padded. A plain batch needs no mask: attention is causal, so what
    comes after a token cannot change it.
    """

    pad_id: int
    pictures: Pictures
    augmentation: Augmentation | None = None
    """Changes the pictures; for training alone."""
    lists: bool = False
    """Say of the labels of trees which list they belong to; for a loss over lists."""

    def __call__(self, records: Sequence[Encoded]) -> dict[str, Tensor]:
        """Pad and join.

        Returns:
            input_ids (B, T); rows (N,) flat places whose next token is learned; targets (N,) that
            token; weights (N,); for trees attention_mask (B, 1, T, T) bool and position_ids (B, T);
            for pictures what the processor makes of them: where it cuts them in tiles,
            pixel_values (B, tiles, 3, H, W), zeros behind the last tile; and mm_token_type_ids
            (B, T) where it says which tokens are a picture's. With `lists`, for trees lists (N,):
            the row of a label, -1 for other tokens. A soft label has two rows for one place, each
            with its weight. For `PICTURE_WORDS` pictures and words (B, W),
            padded with -1.
        """
        if records[0].task == PICTURE_WORDS:
            return self._picture_words(records)
        longest = max(record.length for record in records)
        ids = np.full((len(records), longest), self.pad_id, np.int64)
        weights = np.zeros((len(records), longest), np.float32)
        for row, record in enumerate(records):
            ids[row, : record.length] = record.ids
            weights[row, : record.length] = record.weights
        rows, columns = np.nonzero(weights)
        batch = {
            "input_ids": torch.from_numpy(ids),
            "rows": torch.from_numpy(rows * longest + columns - 1),
            "targets": torch.from_numpy(ids[rows, columns]),
            "weights": torch.from_numpy(weights[rows, columns]),
        }
        if any(record.branch[-1] for record in records):
            batch |= _tree_attention(records, longest)
            if self.lists:
                # An answer in a branch is its label and the end mark.
                first = weights[rows, columns - 1] == IGNORED
                batch["lists"] = torch.from_numpy(np.where(first, rows, -1))
        if any(record.doubts is not None for record in records):
            batch |= _with_doubts(batch, records, longest)
        if any(record.token_types is not None for record in records):
            batch["mm_token_type_ids"] = _token_types(records, longest)
        names = [name for record in records for name in record.images]
        return batch | self._pixels(names) if names else batch

    def _picture_words(self, records: Sequence[Encoded]) -> dict[str, Tensor]:
        batch = self._pixels([record.images[0] for record in records])
        words = [record.ids for record in records]
        if self.augmentation is not None and batch["pixel_values"].ndim == 5:
            pixels = batch["pixel_values"]
            flat, recoloured = self.augmentation.recoloured(pixels.flatten(0, 1))
            batch["pixel_values"] = flat.view_as(pixels)
            words = [
                record.ids[record.weights > 0] if other else record.ids
                for record, other in zip(records, recoloured.tolist(), strict=True)
            ]
        return batch | {"words": _pad_words(words)}

    def _pixels(self, names: Sequence[str]) -> dict[str, Tensor]:
        made = [self.pictures.features(name) for name in names]
        if made[0]["pixel_values"].ndim != 5:
            return {key: torch.cat([features[key] for features in made]) for key in made[0]}
        # In tiles: (1, tiles, 3, H, W) a picture, of some pictures more than of others.
        tiles = {
            key: torch.cat([features[key][0] for features in made])
            for key in made[0].keys() & {"pixel_values", "pixel_attention_mask"}
        }
        mask = tiles.get("pixel_attention_mask")
        if mask is not None and bool(mask.all()):
            del tiles["pixel_attention_mask"]
        if self.augmentation is not None:
            tiles["pixel_values"] = self.augmentation(tiles["pixel_values"])
        counts = [features["pixel_values"].shape[1] for features in made]
        # The model leaves out tiles that are all zero.
        return {
            key: pad_sequence(list(torch.split(values, counts)), batch_first=True)
            for key, values in tiles.items()
        }


def _tree_attention(records: Sequence[Encoded], longest: int) -> dict[str, Tensor]:
    """Mask and positions of trees: a branch sees the shared part and itself, up to each token."""
    branch = np.full((len(records), longest), -1, np.int16)
    positions = np.zeros((len(records), longest), np.int64)
    for row, record in enumerate(records):
        branch[row, : record.length] = record.branch
        positions[row, : record.length] = record.positions
    queries, keys = torch.from_numpy(branch)[:, :, None], torch.from_numpy(branch)[:, None, :]
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    allowed = ((queries == keys) | (keys == 0)) & causal
    return {"attention_mask": allowed[:, None], "position_ids": torch.from_numpy(positions)}


def _with_doubts(
    batch: dict[str, Tensor], records: Sequence[Encoded], longest: int
) -> dict[str, Tensor]:
    """What is learned, with the other label behind it wherever a label is soft.

    A place with both, at weights that add up to one label's, is cross entropy against the two.
    """
    found = [(row, each.doubts) for row, each in enumerate(records) if each.doubts is not None]
    rows = np.concatenate([row * longest + doubts.places - 1 for row, doubts in found])
    added = {
        "rows": rows,
        "targets": np.concatenate([doubts.ids for _, doubts in found]),
        "weights": np.concatenate([doubts.weights for _, doubts in found]),
        "lists": np.full(len(rows), -1),
    }
    return {
        key: torch.cat([batch[key], torch.from_numpy(values)])
        for key, values in added.items()
        if key in batch
    }


def _token_types(records: Sequence[Encoded], longest: int) -> Tensor:
    types = np.zeros((len(records), longest), np.int64)
    for row, record in enumerate(records):
        if record.token_types is not None:
            types[row, : record.length] = record.token_types
    return torch.from_numpy(types)


def _pad_words(words: Sequence[NDArray[np.int32]]) -> Tensor:
    padded = torch.full((len(words), max(map(len, words))), -1)
    for row, ids in enumerate(words):
        padded[row, : len(ids)] = torch.from_numpy(ids)
    return padded
