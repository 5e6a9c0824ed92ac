"""A model, records and pictures small enough to train on in a second."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from mllm_srec.finetune.data.records import (
    AnyRecord,
    Record,
    RecordGroup,
    write_records,
)
from mllm_srec.finetune.training.record_pictures import PictureSource
from mllm_srec.finetune.training.tiny import TinyConfig, write_scratch
from mllm_srec.llm.prompting import render
from mllm_srec.store.pictures import open_picture, read_inside

SMALL = TinyConfig(
    vocab_size=1024,
    hidden_size=64,
    layers=2,
    heads=2,
    intermediate_size=128,
    vision_hidden_size=48,
    vision_layers=1,
    vision_heads=2,
    vision_intermediate_size=96,
    image_side=48,
)
TASK_SHARES: dict[str, float] = {"look": 1.0, "fuse": 1.0, "score_target": 1.0}
SHARES = {**TASK_SHARES, "picture_words": 1.0}
COLOURS = {"red": (200, 20, 20), "blue": (20, 20, 200), "green": (20, 160, 20)}
MEASURED = "green"
"""The colour that only validation has."""


def look(colour: str) -> Record:
    """What one picture shows."""
    answer = f'{{"what":"ball","colour":"{colour}"}}'
    return Record.of("look", render("look"), answer, [f"{colour}.png"])


def fuse(what: str = "ball") -> Record:
    """One merged description."""
    prompt = render("fuse", look="{}", text=f"Title: a red {what}")
    return Record.of("fuse", prompt, f'{{"what":"{what}"}}')


def group(labels: Sequence[str] = ("Yes", "No", "Yes")) -> RecordGroup:
    """Up to three items asked about after one beginning."""
    items = ["ball: red, plain", "kite: blue, striped, sporty; cotton", "Wenvalund: x"]
    prompts = [
        render(
            "score_target",
            profile="loves red",
            preference="-",
            so_far="no items",
            now="May",
            item=item,
            common="",
        )
        for item in items[: len(labels)]
    ]
    return RecordGroup.of("score_target", prompts, labels)


def train_records() -> list[AnyRecord]:
    """Records of three tasks."""
    return [look("red"), look("blue"), fuse(), group()]


def validation_records() -> list[AnyRecord]:
    """Records of the same tasks, of another item."""
    return [look(MEASURED), fuse("kite"), group()]


def write_small_data(
    folder: Path,
    train: Sequence[AnyRecord] | None = None,
    validation: Sequence[AnyRecord] | None = None,
) -> Path:
    """Write a data folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "train.jsonl", train_records() if train is None else train)
    write_records(
        folder / "validation.jsonl", validation_records() if validation is None else validation
    )
    return folder


def write_small_model(folder: Path) -> Path:
    """Write a random model whose tokenizer knows the words of the records."""
    records = train_records()
    texts = [turn.text for each in records if isinstance(each, Record) for turn in each.messages]
    texts += [turn.text for turn in group().prompt]
    write_scratch(folder, texts * 80, SMALL)
    return folder


def write_pictures(folder: Path) -> Path:
    """Write a picture of each colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (60, 40), colour).save(folder / f"{name}.png")
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder, in float32."""
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    found: dict[str, torch.Tensor] = model.state_dict()
    return found


def picture_files(folder: Path) -> PictureSource:
    """A source that reads the pictures of a folder."""
    return lambda name: open_picture(read_inside(folder, name))
