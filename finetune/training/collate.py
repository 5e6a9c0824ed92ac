"""From records to batches: the tokens that serving sends, loss on the answer alone.

Scoring groups become trees: the shared beginning once, then the branches, each of which sees the
beginning and itself. That is the same function as one row for each candidate, at a fraction of the
cost, because nearly all of a scoring prompt is shared.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor

from mllm_srec.finetune.data.records import (
    SPLITS,
    AnyRecord,
    Record,
    RecordError,
    RecordGroup,
    Task,
    Turn,
)
from mllm_srec.finetune.training.augment import Augmentation
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import Message, Picture, Prompt
from mllm_srec.llm.pictures import load_budget, open_prepared, prepare
from mllm_srec.store.errors import BadPicture
from mllm_srec.store.pictures import open_picture, read_inside

IGNORED = 0.0
"""Weight of a token that is read but not learned."""

# Of a branch only the label says anything; that an end follows it is learned at once.
_END_WEIGHT = 0.1

# Stands where a branch goes on, to find out what the chat template puts after the user's text.
_MARK = "\N{SYMBOL FOR UNIT SEPARATOR}"

PICTURE_WORDS = "picture_words"
"""The task of learning which words stand in the answer about a picture, without reading the prompt:
a picture costs a tenth of a `look` record that way (SuperClass, Huang et al. 2024)."""

_COLOUR = re.compile(r'"(?:colour|style)":"([^"]*)"')

_NEAR = 24
"""Characters on each side of a split that are looked at."""

_NO_PICTURE = Picture(b"", "", 0, 0)

PictureSource = Callable[[str], Image.Image]
"""Gives the picture of a name: `PictureStore.load`, or `picture_files(folder)`."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as tokens; T tokens, the branches of a group one after another."""

    task: str
    ids: NDArray[np.int32]
    """(T,) token ids, picture places filled."""
    positions: NDArray[np.int32]
    """(T,) place of each token in its own conversation; every branch goes on where the shared part
    ends."""
    branch: NDArray[np.int16]
    """(T,) 0 for what is shared or plain, 1, 2, ... for the branches."""
    weights: NDArray[np.float32]
    """(T,) how much a token counts as a target; 0 for what is not learned."""
    images: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Tokens, the shared ones once."""
        return len(self.ids)


def load_processor(model_path: Path) -> Any:
    """A model's processor: its tokenizer, and what makes its pictures into numbers."""
    return AutoProcessor.from_pretrained(model_path)  # type: ignore[no-untyped-call]


class Pictures:
    """Pictures by the names that records give them, as the model's own processor makes them."""

    def __init__(self, load: PictureSource, model_path: Path) -> None:
        self._load = load
        self._budget = load_budget(model_path)
        self._processor = load_processor(model_path)
        self._features: dict[str, dict[str, Tensor]] = {}

    def load(self, name: str) -> Image.Image:
        """The prepared pixels of one picture: what serving sends."""
        return open_prepared(prepare(self._load(name), self._budget))

    def features(self, name: str) -> dict[str, Tensor]:
        """What the picture processor makes of one picture; kept for the next epoch."""
        if name not in self._features:
            made = self._processor.image_processor([[self.load(name)]], return_tensors="pt")
            self._features[name] = {
                key: value for key, value in made.items() if isinstance(value, Tensor)
            }
        return self._features[name]


def picture_files(folder: Path) -> PictureSource:
    """A source that reads picture files below a folder.

    The source raises `RecordError` for a file that is missing or no picture.
    """

    def load(name: str) -> Image.Image:
        try:
            return open_picture(read_inside(folder, name))
        except BadPicture as error:
            raise RecordError(
                f"picture {name!r} cannot be read ({error}): put it below {folder.name!r}"
            ) from error

    return load


class Encoder:
    """Turns records into tokens with the chat template that serving uses."""

    def __init__(self, model_path: Path, pictures: Pictures) -> None:
        self._template = ChatTemplate(model_path)
        self._processor = load_processor(model_path)
        self._pictures = pictures
        self._labels: dict[str, list[int]] = {}

    def encode(self, record: AnyRecord) -> Encoded:
        """Tokens, positions and weights of a record or a group.

        Raises:
            RecordError: A picture is missing, or a branch does not start at a token of its own.
        """
        return self._tree(record) if isinstance(record, RecordGroup) else self._plain(record)

    def _plain(self, record: Record) -> Encoded:
        prompt = _prompt(record.prompt)
        asked = self._template.render(prompt)
        answer = self._answer(prompt, asked, record.completion[0].text)
        head = self._ids(asked, record.images)
        ids = np.array([*head, *answer], np.int32)
        weights = np.zeros(len(ids), np.float32)
        weights[len(head) :] = record.weight
        zeros = np.zeros(len(ids), np.int16)
        return Encoded(
            record.task, ids, np.arange(len(ids), dtype=np.int32), zeros, weights, record.images
        )

    def _tree(self, group: RecordGroup) -> Encoded:
        *before, user = group.prompt
        marked = Turn(role="user", content=(*user.content, *_text(_MARK)))
        head, tail = self._template.render(_prompt((*before, marked))).split(_MARK)
        shared = self._ids(head, group.images)
        parts = [(shared, 0, IGNORED)]
        for number, branch in enumerate(group.branches, 1):
            suffix = self._template.defuse(branch.suffix) + tail
            self._check_split(group.task, head, suffix)
            asked = self._template.encode(suffix)
            answer = self._label(group, branch.label)
            parts.append((asked, number, IGNORED))
            parts.append((answer[:-1], number, branch.weight))
            parts.append((answer[-1:], number, branch.weight * _END_WEIGHT))
        return _join(group, parts, len(shared))

    def _check_split(self, task: Task, head: str, suffix: str) -> None:
        # A tokenizer that joins across the split does so within the nearest words.
        before, after = head[-_NEAR:], suffix[:_NEAR]
        encode = self._template.encode
        if encode(before + after) != encode(before) + encode(after):
            raise RecordError(
                f"the tokenizer joins what stands before and after {SPLITS[task]!r}: use one that "
                "keeps line ends apart, or expand the groups"
            )

    def colour_words(self, encoded: Encoded) -> set[int]:
        """Tokens of a visual answer that hold no more when the picture gets other colours.

        Besides the colour that is the style, whose cues are drawn in colours of their own.
        """
        answer = self._processor.tokenizer.decode(encoded.ids[encoded.weights > 0])
        seen = _COLOUR.findall(answer)
        return {token for word in seen for token in self._template.encode(word)}

    def _label(self, group: RecordGroup, label: str) -> list[int]:
        """Tokens of a label and its end mark: the same after every prompt."""
        if label not in self._labels:
            prompt = _prompt(group.prompt)
            self._labels[label] = self._answer(prompt, self._template.render(prompt), label)
        return self._labels[label]

    def _answer(self, prompt: Prompt, asked: str, text: str) -> list[int]:
        """Tokens of an answer and its end mark, as they follow the prompt's tokens."""
        whole = self._template.render(prompt, answer=text)
        if not whole.startswith(asked):
            raise RecordError(
                "the chat template writes a prompt otherwise once it is answered: "
                "its prompts cannot be trained as they are served"
            )
        return self._template.encode(whole[len(asked) :].rstrip("\n"))

    def _ids(self, text: str, images: Sequence[str]) -> list[int]:
        """Tokens of a prompt, every picture mark filled with its picture's tokens."""
        if not images:
            return self._template.encode(text)
        loaded = [self._pictures.load(name) for name in images]
        ids: list[int] = self._processor(text=[text], images=[loaded])["input_ids"][0]
        return ids


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
            for pictures what the processor makes of them. With `lists`, for trees lists (N,): the
            row of a label, -1 for other tokens. For `PICTURE_WORDS` pictures and words (B, W),
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
        batch = {key: torch.cat([features[key] for features in made]) for key in made[0]}
        mask = batch.get("pixel_attention_mask")
        if mask is not None and bool(mask.all()):
            del batch["pixel_attention_mask"]
        if self.augmentation is not None and batch["pixel_values"].ndim == 5:
            pixels = batch["pixel_values"]
            batch["pixel_values"] = self.augmentation(pixels.flatten(0, 1)).view_as(pixels)
        return batch


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


def _join(
    group: RecordGroup, parts: Iterable[tuple[Sequence[int], int, float]], shared: int
) -> Encoded:
    ids: list[int] = []
    branch: list[int] = []
    weights: list[float] = []
    positions: list[int] = []
    places: dict[int, int] = {}
    for tokens, number, weight in parts:
        start = places.get(number, shared if number else 0)
        places[number] = start + len(tokens)
        ids.extend(tokens)
        branch.extend([number] * len(tokens))
        weights.extend([weight] * len(tokens))
        positions.extend(range(start, start + len(tokens)))
    return Encoded(
        group.task,
        np.array(ids, np.int32),
        np.array(positions, np.int32),
        np.array(branch, np.int16),
        np.array(weights, np.float32),
        group.images,
    )


def _prompt(messages: Sequence[Turn]) -> Prompt:
    """The prompt as an engine gets it, with stand-ins for the pictures."""
    return Prompt(tuple(Message(t.role, t.text, (_NO_PICTURE,) * t.pictures) for t in messages))


def _text(text: str) -> tuple[Any, ...]:
    return Turn.model_validate(
        {"role": "user", "content": [{"type": "text", "text": text}]}
    ).content


def picture_words(
    records: Iterable[Encoded], colour_words: Callable[[Encoded], Collection[int]]
) -> list[Encoded]:
    """For each `look` record the words of its answer that tell it from other answers.

    Args:
        records: Encoded records, of any task.
        colour_words: Says which tokens of an answer hold no more when the picture is recoloured;
            they get the weight 0.
    """
    looks = [record for record in records if record.task == "look"]
    bags = [set(record.ids[record.weights > 0].tolist()) for record in looks]
    often = Counter(word for bag in bags for word in bag)
    made = []
    for record, bag in zip(looks, bags, strict=True):
        words = np.array(sorted(w for w in bag if often[w] <= len(looks) / 2), np.int32)
        if len(words):
            zeros = np.zeros(len(words), np.int16)
            fixed = ~np.isin(words, list(colour_words(record)))
            made.append(
                Encoded(
                    PICTURE_WORDS,
                    words,
                    zeros.astype(np.int32),
                    zeros,
                    fixed.astype(np.float32),
                    record.images,
                )
            )
    return made


def _pad_words(words: Sequence[NDArray[np.int32]]) -> Tensor:
    padded = torch.full((len(words), max(map(len, words))), -1)
    for row, ids in enumerate(words):
        padded[row, : len(ids)] = torch.from_numpy(ids)
    return padded
