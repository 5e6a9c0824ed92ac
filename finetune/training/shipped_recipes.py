"""The recipes that ship with the package, and which of them fits some data."""

import os
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path

from mllm_srec.finetune.training.recipe import Recipe, RecipeError


def shipped_recipes() -> dict[str, Path]:
    """The files of the shipped recipes by their names, in alphabetical order."""
    folder = Path(str(files("mllm_srec.finetune"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipe_at(given: str) -> Recipe:
    """The recipe of a file, or a shipped one by its name.

    Raises:
        RecipeError: There is no such file and no such name, or the recipe is wrong.
    """
    # `Path.expanduser` raises where there is no such user.
    path = Path(os.path.expanduser(given))
    if path.is_file():
        return Recipe.load(path)
    shipped = shipped_recipes()
    name = given.removesuffix(".toml")
    if name not in shipped:
        raise RecipeError(f"no recipe {given!r}: give a TOML file, or one of {', '.join(shipped)}")
    return Recipe.load(shipped[name])


def fitting_recipe(tasks: Collection[str]) -> str | None:
    """Name of the shipped recipe that teaches most of these tasks and no other; None for none."""
    taught = {name: Recipe.load(path).taught for name, path in shipped_recipes().items()}
    fitting = [name for name, wanted in taught.items() if set(wanted) <= set(tasks)]
    return max(fitting, key=lambda name: len(taught[name]), default=None)


def recipes_for_a_base() -> list[str]:
    """Names of the shipped recipes that start from a model folder."""
    recipes = {name: Recipe.load(path) for name, path in shipped_recipes().items()}
    return [name for name, recipe in recipes.items() if recipe.scratch is None]
