"""Whether the data have what a recipe teaches and measures."""

from collections.abc import Collection, Iterator, Mapping

from mllm_srec.finetune.data.entries import Fault, shown
from mllm_srec.finetune.training.picture_words import PICTURE_WORDS
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.shipped_recipes import fitting_recipe, recipes_for_a_base

_PICTURED = ("look", PICTURE_WORDS)


def task_faults(recipe: Recipe, tasks: Mapping[str, Collection[str]]) -> Iterator[Fault]:
    """Yield a fault for each task that a recipe names and the data have no record of.

    Args:
        recipe: Its shares and its best figure count.
        tasks: Of what tasks there are records, for `train` and for `validation`.
    """
    teachable = {*tasks["train"], *([PICTURE_WORDS] if "look" in tasks["train"] else [])}
    for task in sorted(set(recipe.taught) - teachable):
        problem = f"no record of at most {recipe.max_length:,} tokens teaches it"
        yield untaught(task, recipe, teachable, problem)
    for run in filter(None, (recipe, recipe.then)):
        measured = run.measured_task
        if measured is not None and measured not in tasks["validation"]:
            problem = f"there is no record of {measured!r} of at most {run.max_length:,} tokens"
            way_out = "leave 'best' out of the recipe, or name a figure of another task"
            yield Fault("validation.jsonl", None, "best", shown(run.best), problem, way_out)


def untaught(task: str, recipe: Recipe, teachable: Collection[str], problem: str) -> Fault:
    """The fault of a task that cannot be taught.

    Args:
        task: It has a share in the recipe.
        recipe: The recipe.
        teachable: The tasks that can be.
        problem: Why this one cannot.
    """
    ways = []
    fitting = fitting_recipe(teachable)
    if fitting is not None:
        base = " and needs a `--base`" if fitting in recipes_for_a_base() else ""
        ways.append(f"take `--recipe {fitting}`, which fits these data{base}")
    if task in _PICTURED:
        ways.append("say what pictures show (`srec finetune data --labels` or `--teacher`)")
    ways.append(f"set the share of {task!r} to 0 in a recipe of your own")
    whole = f"its share is {recipe.taught[task]:g}, and {problem}"
    return Fault("train.jsonl", None, "shares", shown(task), whole, ", or ".join(ways))
