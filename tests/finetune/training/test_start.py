"""What a run refuses before it starts, and on what it runs."""

from pathlib import Path
from typing import NoReturn

import pytest
from trl import SFTConfig

from mllm_srec.finetune.training.recipe import Recipe, RecipeError
from mllm_srec.finetune.training.shipped_recipes import recipe_at
from mllm_srec.finetune.training.start import require_start, take_one_gpu
from mllm_srec.finetune.training.tiny import TinyConfig
from mllm_srec.finetune.training.train import train


def no_picture(name: str) -> NoReturn:
    raise AssertionError(f"{name} was read")


def test_a_recipe_from_nothing_takes_no_base(tmp_path: Path) -> None:
    said = r"recipe 'srec-tiny' starts from nothing: with `--base` give `--recipe` one of .*lora"
    with pytest.raises(RecipeError, match=said):
        require_start(recipe_at("srec-tiny"), tmp_path, "recipe 'srec-tiny'")
    require_start(recipe_at("srec-tiny"), None)


def test_a_recipe_for_a_base_needs_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe 'lora' starts from a model: .* `--base`"):
        require_start(recipe_at("lora"), None, "recipe 'lora'")
    require_start(recipe_at("lora"), tmp_path)


def test_training_refuses_both_and_neither(tmp_path: Path) -> None:
    both = (Recipe(steps=1, scratch=TinyConfig()), tmp_path)
    for recipe, base in (both, (Recipe(steps=1), None)):
        with pytest.raises(RecipeError, match="the recipe starts from"):
            train(recipe, tmp_path, no_picture, tmp_path / "out", base=base)


def test_of_several_gpus_one_is_taken(tmp_path: Path) -> None:
    arguments = SFTConfig(output_dir=str(tmp_path), use_cpu=True)
    arguments._n_gpu = 2
    take_one_gpu(arguments)
    assert arguments.n_gpu == 1
