import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.pictures import (
    NEUTRAL,
    PictureBudget,
    as_png,
    load_budget,
    open_prepared,
    prepare,
    save_budget,
)

SQUARE = PictureBudget(96, square=True)
FREE = PictureBudget(128)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@given(st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=50)
def test_a_square_budget_gives_squares(width: int, height: int) -> None:
    picture = prepare(noise(width, height), SQUARE)
    assert (picture.width, picture.height) == (96, 96)
    assert open_prepared(picture).size == (96, 96)


@given(st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=50)
def test_a_free_budget_keeps_within_the_longest_side(width: int, height: int) -> None:
    picture = prepare(noise(width, height), FREE)
    assert max(picture.width, picture.height) <= 128
    assert min(picture.width, picture.height) >= 32
    if min(width, height) >= 32 and max(width, height) <= 128:
        assert (picture.width, picture.height) == (width, height)


def test_what_is_opened_is_what_was_prepared() -> None:
    image = noise(60, 40)
    picture = prepare(image, FREE)
    assert open_prepared(picture).tobytes() == image.tobytes()
    with Image.open(io.BytesIO(as_png(picture))) as kept:
        assert (kept.format, kept.tobytes()) == ("PNG", image.tobytes())


def test_preparing_twice_changes_nothing() -> None:
    once = prepare(noise(300, 200), SQUARE)
    twice = prepare(open_prepared(once), SQUARE)
    assert twice == once


def test_the_key_names_the_pixels() -> None:
    one, other = noise(96, 96), noise(96, 96)
    assert prepare(one, SQUARE).key == prepare(other, SQUARE).key
    other.putpixel((0, 0), (1, 2, 3))
    assert prepare(one, SQUARE).key != prepare(other, SQUARE).key
    assert len(prepare(one, SQUARE).key) == hashlib.sha256().digest_size * 2


def test_orientation_is_applied() -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste((0, 0, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    picture = prepare(Image.open(file), FREE)
    assert (picture.width, picture.height) == (32, 40)  # padded to the shortest side


def test_transparency_shows_the_neutral_colour() -> None:
    clear = Image.new("RGBA", (96, 96), (255, 0, 0, 0))
    assert open_prepared(prepare(clear, SQUARE)).getpixel((5, 5)) == NEUTRAL


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "RGBA", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = noise(50, 50, "L").convert("LA") if mode == "LA" else noise(50, 50, mode)
    assert open_prepared(prepare(source, SQUARE)).mode == "RGB"


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.full((96, 96), 32896, np.uint16))
    red, _, _ = open_prepared(prepare(deep, SQUARE)).getpixel((50, 50))  # type: ignore[misc]
    assert 126 <= red <= 130


def test_the_budget_lies_beside_the_weights(tmp_path: Path) -> None:
    assert load_budget(tmp_path) == PictureBudget(512, square=False)
    save_budget(tmp_path, SQUARE)
    assert load_budget(tmp_path) == SQUARE


@pytest.mark.parametrize("text", ["{", "[]", '{"side": 4}', '{"edge": 96}', '{"side": "big"}'])
def test_a_broken_budget_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "picture_budget.json").write_text(text)
    with pytest.raises(ModelError, match="picture_budget"):
        load_budget(tmp_path)
