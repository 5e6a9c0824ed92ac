"""The catalogue half of a drawn shop."""

import io
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllm_srec.finetune.shop.catalogue import (
    TEST_SHARE,
    label,
    make_items,
    picture_bytes,
    write_catalogue,
)
from mllm_srec.finetune.shop.drawing import PRODUCTS, draw
from mllm_srec.finetune.shop.drawing.patterns import BASES, FIGURES
from mllm_srec.finetune.shop.text import check_text, write_text
from mllm_srec.finetune.shop.vocabulary import (
    COLOURS,
    DAYS,
    DEPARTMENTS,
    LAST_MONTH,
    MATERIAL_POOL,
    PATTERNS,
    PRICE_BANDS,
    PURPOSE_SEASONS,
    STYLES,
    SUITS,
    TYPES,
    ItemTruth,
    brands,
    price_band,
    shop_words,
)


@pytest.fixture(scope="module")
def items() -> list[ItemTruth]:
    return make_items(1, 1600)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shop")
    write_catalogue(make_items(3, 120), out, seed=3)
    return out


def test_every_word_of_the_vocabulary_belongs_to_one_attribute() -> None:
    words = [
        *DEPARTMENTS, *chain(*TYPES.values()), *COLOURS, *PATTERNS, *STYLES, *PRICE_BANDS,
        *chain(*SUITS.values()), *MATERIAL_POOL, *PURPOSE_SEASONS,
    ]  # fmt: skip
    assert len(words) == len(set(words))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)


def test_the_vocabulary_is_as_large_as_the_shop_promises(items: list[ItemTruth]) -> None:
    assert len({item.what for item in items}) == 32
    assert len({item.colour for item in items}) == 12
    assert len({item.pattern for item in items}) == 6
    assert len({item.style for item in items}) == 5
    assert len({item.material for item in items}) >= 8
    assert len({item.brand for item in items}) >= 20
    assert len({item.purpose for item in items}) >= 10
    assert all(len({i.suits for i in items if i.department == name}) == 4 for name in DEPARTMENTS)


def test_another_seed_has_other_words() -> None:
    first, second = shop_words(1), shop_words(2)
    assert first.brands != second.brands
    assert first.materials != second.materials
    assert first.purposes != second.purposes


@given(st.integers(0, 2**32))
def test_brands_are_distinct_single_capitalised_words(seed: int) -> None:
    names = brands(np.random.default_rng(seed), 24)
    assert len(set(names)) == 24
    assert all(name.isalpha() and name == name.capitalize() for name in names)


def test_more_brands_than_syllables_can_make_are_refused() -> None:
    with pytest.raises(ValueError, match="1000000 brands"):
        brands(np.random.default_rng(0), 1_000_000)


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_catalogue(make_items(7, 40), tmp_path / name, seed=7)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 30
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_another_seed_makes_another_shop() -> None:
    assert make_items(1, 50) != make_items(2, 50)
    item = make_items(1, 1)[0]
    assert picture_bytes(item, 1) != picture_bytes(item, 2)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 80))
def test_text_and_picture_keep_their_secrets_for_any_seed(seed: int, count: int) -> None:
    for item in make_items(seed, count):
        check_text(item, write_text(item, seed))


def test_the_picture_does_not_show_what_the_text_tells(items: list[ItemTruth]) -> None:
    other = items[1]
    for item in (items[0], next(item for item in items if item.noise)):
        retold = replace(
            item,
            material=other.material,
            brand=other.brand,
            price=other.price,
            price_band=other.price_band,
            purpose=other.purpose,
            suits=other.suits,
        )
        assert retold != item
        assert picture_bytes(retold, 1) == picture_bytes(item, 1)


def test_a_text_that_tells_what_the_picture_shows_is_caught(items: list[ItemTruth]) -> None:
    item = next(i for i in items if i.has_picture and not i.bare_text and not i.text_colour)
    text = write_text(item, 1)
    for word in (item.what, item.colour, item.pattern, item.style):
        with pytest.raises(AssertionError):
            check_text(item, replace(text, description=f"{text.description} {word.title()}!"))


def test_contradictions_pictureless_and_bare_items_are_a_twentieth_each(
    items: list[ItemTruth],
) -> None:
    assert sum(item.contradicts for item in items) == 80
    assert sum(not item.has_picture for item in items) == 80
    assert sum(item.bare_text for item in items) == 80
    assert not any(item.bare_text and not item.has_picture for item in items)
    assert all(item.text_colour != item.colour for item in items if item.contradicts)


def test_a_pictureless_item_tells_its_type_and_half_of_them_their_colour(
    items: list[ItemTruth],
) -> None:
    bare = [item for item in items if not item.has_picture]
    assert all(item.what in write_text(item, 1).words for item in bare)
    assert 0.3 < sum(item.text_colour == item.colour for item in bare) / len(bare) < 0.7


def test_the_text_does_not_give_the_type_away(items: list[ItemTruth]) -> None:
    """Naive Bayes on words, inside the department: near the one in eight of chance."""
    shown = [item for item in items if item.has_picture and not item.bare_text]
    half = len(shown) // 2
    counts: dict[tuple[str, str], int] = {}
    for item in shown[:half]:
        for word in write_text(item, 1).words:
            counts[item.what, word] = counts.get((item.what, word), 0) + 1
    right = 0
    for item in shown[half:]:
        words = write_text(item, 1).words
        guesses = {
            what: sum(np.log(1 + counts.get((what, word), 0)) for word in words)
            for what in TYPES[item.department]
        }
        right += max(guesses, key=guesses.__getitem__) == item.what
    assert right / (len(shown) - half) < 0.2


def test_attributes_are_independent_of_the_type(items: list[ItemTruth]) -> None:
    for name in ("colour", "style", "pattern"):
        frame = pl.DataFrame(
            {"what": [i.what for i in items], "v": [getattr(i, name) for i in items]}
        )
        table = frame.group_by("what", "v").len()
        values = frame["v"].n_unique()
        expected = len(items) / 32 / values
        chi2 = float(((table["len"] - expected) ** 2 / expected).sum())
        degrees = 31 * (values - 1)
        assert chi2 < degrees + 5 * np.sqrt(2 * degrees)


def test_over_a_hundred_items_appear_in_the_last_month_and_most_on_the_first_day(
    items: list[ItemTruth],
) -> None:
    days = [item.added_day for item in items]
    assert sum(day >= LAST_MONTH for day in days) >= 100
    assert sum(day == 0 for day in days) > 0.8 * len(days)
    assert 0 <= min(days) <= max(days) < DAYS


def test_prices_lie_in_their_band(items: list[ItemTruth]) -> None:
    assert all(price_band(item.price) == item.price_band for item in items)
    assert {item.price_band for item in items} == set(PRICE_BANDS)


def test_labels_are_of_four_fifths_of_the_items_old_and_new_alike(tmp_path: Path) -> None:
    items = make_items(1, 1600)
    write_catalogue(items, tmp_path, seed=1, pictures=False)
    labelled = set(pl.read_parquet(tmp_path / "labels.parquet")["item_id"])
    truth = pl.read_parquet(tmp_path / "truth" / "items.parquet")
    assert set(truth.filter(pl.col("split") == "train")["item_id"]) == labelled
    for part in (truth["added_day"] >= LAST_MONTH, truth["added_day"] < LAST_MONTH):
        share = (truth.filter(part)["split"] == "test").mean()
        assert share == pytest.approx(TEST_SHARE, abs=0.01)


def test_a_label_holds_only_what_an_annotator_could_know(items: list[ItemTruth]) -> None:
    contradictory = label(next(i for i in items if i.contradicts), shown=True)
    assert contradictory["text_colour"] not in (None, contradictory["colour"])
    unseen = next(i for i in items if not i.has_picture and i.text_colour is None)
    assert {n for n, v in label(unseen, shown=False).items() if v is None} == {
        "colour", "pattern", "style", "text_colour",
    }  # fmt: skip
    silent = next(i for i in items if i.bare_text)
    assert {n for n, v in label(silent, shown=True).items() if v is None} == {
        "material", "brand", "purpose", "suits", "text_colour",
    }  # fmt: skip


def test_the_files_have_the_columns_that_ingest_reads(shop: Path) -> None:
    frame = pl.read_parquet(shop / "items.parquet")
    assert frame.columns == [
        "item_id", "title", "brand", "categories", "description", "price", "keywords", "image",
    ]  # fmt: skip
    for path in frame["image"].drop_nulls():
        with Image.open(shop / path) as picture:
            assert (picture.size, picture.mode) == ((128, 128), "RGB")
    assert frame["image"].null_count() == 6
    assert len(list((shop / "images").iterdir())) == 114


def test_a_shop_of_1600_items_takes_less_than_six_mebibytes(shop: Path) -> None:
    sizes = [path.stat().st_size for path in (shop / "images").iterdir()]
    assert np.mean(sizes) * 1520 < 5.7 * 2**20


def test_a_shop_without_pictures_names_none_and_labels_none(tmp_path: Path) -> None:
    write_catalogue(make_items(1, 50), tmp_path, seed=1, pictures=False)
    assert not (tmp_path / "images").exists()
    assert pl.read_parquet(tmp_path / "items.parquet")["image"].null_count() == 50
    assert pl.read_parquet(tmp_path / "labels.parquet")["pattern"].null_count() == 40


def test_every_product_type_is_drawn_and_differs_from_every_other(items: list[ItemTruth]) -> None:
    assert set(PRODUCTS) == {what for names in TYPES.values() for what in names}
    example = replace(items[0], colour="red", pattern="plain", style="classic", noise=())
    drawn = {
        what: np.asarray(draw(replace(example, what=what), 1), np.float32) for what in PRODUCTS
    }
    names = sorted(drawn)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            assert np.abs(drawn[first] - drawn[second]).mean() > 4, (first, second)


def test_the_colour_can_be_read_off_every_picture(items: list[ItemTruth]) -> None:
    """The middle of the product is nearer to its own colour than most pixels of another are."""
    for colour in COLOURS:
        item = replace(items[0], what="ball", colour=colour, pattern="plain", noise=())
        pixels = np.asarray(draw(item, 1), np.float32)[44:76, 44:84].reshape(-1, 3)
        nearest = min(
            COLOURS, key=lambda name: np.abs(np.median(pixels, axis=0) - BASES[name]).sum()
        )
        assert nearest == colour


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_shows_and_leaves_the_colour_its_majority(
    items: list[ItemTruth], pattern: str
) -> None:
    item = replace(items[0], what="blanket", colour="blue", style="classic", noise=())
    plain = np.asarray(draw(replace(item, pattern="plain"), 1), np.float32)
    drawn = np.asarray(draw(replace(item, pattern=pattern), 1), np.float32)
    # In the plain picture these are the pixels of the blanket's own colour.
    body = np.abs(plain - BASES["blue"]).sum(axis=2) < 120
    changed = np.abs(drawn - plain).sum(axis=2)[body]
    contrast = np.abs(np.subtract(FIGURES["blue"], BASES["blue"])).sum()
    share = (changed > 0.6 * contrast).mean()
    assert share == 0 if pattern == "plain" else 0.08 < share < 0.5


def test_noise_changes_a_picture_and_leaves_the_product_in_place(items: list[ItemTruth]) -> None:
    item = replace(items[0], noise=())
    clean = np.asarray(draw(item, 1), np.float32)
    for name in ("occlusion", "watermark", "dim", "blur", "grain"):
        spoilt = np.asarray(draw(replace(item, noise=(name,)), 1), np.float32)
        assert 0.5 < np.abs(spoilt - clean).mean() < 80, name


def test_a_picture_file_is_a_readable_jpeg(items: list[ItemTruth]) -> None:
    with Image.open(io.BytesIO(picture_bytes(items[0], 1))) as picture:
        picture.load()
        assert picture.format == "JPEG"
