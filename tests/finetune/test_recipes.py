"""Which recipe `--recipe` means: a file, or a shipped one by its name."""

from pathlib import Path

import pytest

from mllm_srec.finetune.data_cli import SREC_TINY, recipe_at
from mllm_srec.finetune.training.recipe import Recipe, RecipeError

SHIPPED = Path(__file__).parents[2] / "finetune" / "recipes"


def test_a_shipped_recipe_is_found_by_its_name() -> None:
    assert recipe_at(SREC_TINY) == Recipe.load(SHIPPED / "srec-tiny.toml")
    photos = recipe_at("photos")
    assert photos == recipe_at("photos.toml") != recipe_at(SREC_TINY)


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srec-tiny.toml").write_text("steps = 3")
    assert recipe_at(str(tmp_path / "srec-tiny.toml")).steps == 3
    monkeypatch.chdir(tmp_path)
    assert recipe_at("srec-tiny.toml").steps == 3
    assert recipe_at("srec-tiny").steps is None


@pytest.mark.parametrize("unknown", ["srec-huge", "phrasings", "", "nowhere/srec-tiny.toml"])
def test_an_unknown_recipe_lists_the_names(unknown: str) -> None:
    with pytest.raises(RecipeError, match=r"one of .*photos, srec-tiny") as refused:
        recipe_at(unknown)
    assert "phrasings," not in str(refused.value)
