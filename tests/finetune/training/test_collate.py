"""Batches of models that cut pictures in tiles, or say which tokens are a picture's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from mllm_srec.finetune.training import encode, record_pictures
from mllm_srec.finetune.training.augment import Augmentation
from mllm_srec.finetune.training.check import check_data
from mllm_srec.finetune.training.collate import Collator
from mllm_srec.finetune.training.encode import Encoded, Encoder
from mllm_srec.finetune.training.losses import learn_answers_only, read_answers
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.record_pictures import Pictures
from tests.finetune.small import (
    COLOURS,
    look,
    picture_files,
    write_pictures,
    write_small_data,
    write_small_model,
)
from tests.llm.tiny_model import SIDE, make_tiny_model

SIZES = {"red": (96, 96), "blue": (300, 90), "green": (96, 96)}
TILES = {"red": 10, "blue": 4}
"""Three by three and the whole; three by one and the whole."""


@pytest.fixture(scope="module")
def cutting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose processor cuts pictures in tiles, as SmolVLM's does."""
    folder = make_tiny_model(tmp_path_factory.mktemp("cutting"))
    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    processor.image_processor.do_image_splitting = True
    processor.image_processor.size = {"longest_edge": 3 * SIDE}
    processor.save_pretrained(folder)
    (folder / "picture_budget.json").write_text(json.dumps({"side": 3 * SIDE, "square": False}))
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, size in SIZES.items():
        Image.new("RGB", size, COLOURS[name]).save(folder / f"{name}.png")
    return folder


def loss(model: Any, batch: dict[str, Tensor]) -> float:
    with torch.no_grad():
        return read_answers(model, batch).loss.item()


def together(model: Any, collate: Collator, records: list[Encoded]) -> None:
    """A batch gives the mean of what its records give alone, weighed by their answers."""
    alone = [loss(model, collate([record])) for record in records]
    counts = [float((record.weights > 0).sum()) for record in records]
    mean = float(np.average(alone, weights=counts))
    assert loss(model, collate(records)) == pytest.approx(mean, rel=1e-4)
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)


def test_pictures_of_unlike_numbers_of_tiles_make_one_batch(cutting: Path, images: Path) -> None:
    pictures = Pictures(picture_files(images), cutting)
    encoder = Encoder(cutting, pictures)
    records = [encoder.encode(look(colour)) for colour in TILES]
    batch = Collator(0, pictures)(records)
    assert batch["pixel_values"].shape == (2, 10, 3, SIDE, SIDE)
    model: Any = AutoModelForImageTextToText.from_pretrained(cutting, dtype=torch.float32)
    learn_answers_only(model.eval())
    together(model, Collator(0, pictures), records)


def test_changed_pictures_end_in_tiles_that_stay_empty(cutting: Path, images: Path) -> None:
    pictures = Pictures(picture_files(images), cutting)
    encoder = Encoder(cutting, pictures)
    collate = Collator(0, pictures, Augmentation(noise=0.1))
    pixels = collate([encoder.encode(look(colour)) for colour in TILES])["pixel_values"]
    used = (pixels != 0).flatten(2).any(2).sum(1)
    assert used.tolist() == list(TILES.values())


def test_picture_words_are_refused_where_pictures_are_cut(
    cutting: Path, images: Path, tmp_path: Path
) -> None:
    data = write_small_data(tmp_path / "data")
    recipe = Recipe(steps=1, shares={"look": 1.0, "picture_words": 1.0})
    [fault] = check_data(data, picture_files(images), cutting, recipe).faults
    assert fault.value == "'picture_words'"
    assert "this model cuts pictures in tiles" in fault.problem


def test_what_the_processor_says_of_each_token_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = write_small_model(tmp_path / "model"), write_pictures(tmp_path / "images")
    processor: Any = AutoProcessor.from_pretrained(model)  # type: ignore[no-untyped-call]

    def saying(**asked: Any) -> Any:
        return processor(**asked, return_mm_token_type_ids=True)

    monkeypatch.setattr(encode, "load_processor", lambda _: saying)
    pictures = Pictures(picture_files(images), model)
    record = Encoder(model, pictures).encode(look("red"))
    assert record.token_types is not None
    places = record.ids == processor.tokenizer.convert_tokens_to_ids("<image>")
    assert places.sum() > 0
    assert record.token_types[places].tolist() == [1] * int(places.sum())
    assert not record.token_types[record.weights > 0].any()
    types = Collator(0, pictures)([record])["mm_token_type_ids"]
    assert types.tolist() == [record.token_types.tolist()]
    monkeypatch.undo()
    assert Encoder(model, pictures).encode(look("red")).token_types is None


PATCHES = {"wide": (1, 2, 4), "tall": (1, 6, 2)}
"""Time, rows and columns of the patches of a picture; two by two of them are one token."""
PLACE = 5


class QwenPictures:
    """Pictures as Qwen3-VL's processor makes them, which needs torchvision."""

    def features(self, name: str) -> dict[str, Tensor]:
        grid = torch.tensor([PATCHES[name]])
        generator = torch.Generator().manual_seed(len(name) + int(grid[0, 1]))
        pixels = torch.randn(int(grid.prod()), 3 * 2 * 16 * 16, generator=generator)
        return {"pixel_values": pixels, "image_grid_thw": grid}


def qwen_record(name: str, words: int) -> Encoded:
    tokens = int(np.prod(PATCHES[name])) // 4
    ids = np.array([7, *[PLACE] * tokens, *range(20, 20 + words), 9], np.int32)
    weights = np.zeros(len(ids), np.float32)
    weights[-2:] = 1.0
    return Encoded(
        "look",
        ids,
        np.arange(len(ids), dtype=np.int32),
        np.zeros(len(ids), np.int16),
        weights,
        (name,),
        (ids == PLACE).astype(np.int32),
    )


def make_qwen() -> Any:
    torch.manual_seed(0)
    text = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [4, 2, 2],
        },
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    settings: Any = Qwen3VLConfig
    kind: Any = Qwen3VLForConditionalGeneration
    return kind(settings(text_config=text, vision_config=vision, image_token_id=PLACE)).eval()


def test_a_model_that_counts_places_in_pictures_is_told_which_tokens_are_theirs() -> None:
    model = make_qwen()
    learn_answers_only(model)
    pictures: Any = QwenPictures()
    collate = Collator(0, pictures)
    records = [qwen_record("wide", 9), qwen_record("tall", 3)]
    together(model, collate, records)
    untold = collate(records)
    del untold["mm_token_type_ids"]
    with pytest.raises(ValueError, match="mm_token_type_ids"):
        loss(model, untold)


def test_of_many_pictures_the_oldest_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = write_small_model(tmp_path / "model"), write_pictures(tmp_path / "images")
    read: list[str] = []

    def load(name: str) -> Image.Image:
        read.append(name)
        return picture_files(images)(name)

    pictures = Pictures(load, model)
    size = sum(value.nbytes for value in pictures.features("red.png").values())
    monkeypatch.setattr(record_pictures, "KEPT_BYTES", 2 * size)
    for name in ("blue.png", "red.png", "green.png", "blue.png", "red.png"):
        pictures.features(name)
    assert read == ["red.png", "blue.png", "green.png", "red.png"]
