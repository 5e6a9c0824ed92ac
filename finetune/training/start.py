"""What has to hold before a run starts."""

from pathlib import Path

from trl import SFTConfig

from mllm_srec.finetune.training.recipe import Recipe, RecipeError
from mllm_srec.finetune.training.shipped_recipes import recipes_for_a_base


def require_start(recipe: Recipe, base: Path | str | None, name: str = "the recipe") -> None:
    """Refuse a recipe and a base that do not say together what training starts from.

    Args:
        recipe: The recipe.
        base: What was given as the model to start from.
        name: What the recipe is called in the message.

    Raises:
        RecipeError: Neither or both of a base and `scratch` were given.
    """
    if base is not None and recipe.scratch is not None:
        others = ", ".join(recipes_for_a_base())
        raise RecipeError(
            f"{name} starts from nothing: with `--base` give `--recipe` one of {others}, or a "
            "file of your own without [scratch]"
        )
    if base is None and recipe.scratch is None:
        raise RecipeError(
            f"{name} starts from a model: give its folder with `--base`, or a recipe with "
            "[scratch], such as srec-tiny"
        )


def take_one_gpu(arguments: SFTConfig) -> None:
    """Train on one GPU in this process.

    Where several are visible to one process, transformers splits each batch by rows among them
    (`nn.DataParallel`); ours hold flat lists of targets besides. Several GPUs take several
    processes.
    """
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
