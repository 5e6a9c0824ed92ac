"""Which recipe `--recipe` means: a file, or a shipped one by its name; and what one may say."""

from pathlib import Path
from typing import Any

import pytest

from mllm_srec.finetune.data_cli import SREC_TINY
from mllm_srec.finetune.training.recipe import LoraSettings, Recipe, RecipeError
from mllm_srec.finetune.training.shipped_recipes import (
    fitting_recipe,
    recipe_at,
    recipes_for_a_base,
    shipped_recipes,
)

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


def test_every_shipped_recipe_can_be_read_and_one_alone_starts_from_nothing() -> None:
    assert set(shipped_recipes()) == {path.stem for path in SHIPPED.glob("*.toml")}
    assert [*recipes_for_a_base(), SREC_TINY] == list(shipped_recipes())


def test_the_recipe_for_adapters_leaves_the_vision_part_alone() -> None:
    lora = recipe_at("lora")
    assert lora.lora == LoraSettings(vision=False)
    assert "picture_words" not in lora.shares
    assert lora.best == "score_target_loss"


def test_data_without_labels_fit_the_recipe_for_texts() -> None:
    counted = {"fuse", "summarize_preferences", "profile_user", "score_target", "explain"}
    assert fitting_recipe({*counted, "understand"}) == "films"
    assert fitting_recipe({*counted, "understand", "look", "picture_words"}) == SREC_TINY
    assert fitting_recipe({"understand"}) is None


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"scratch": True}, "'scratch' is True"),
        ({"scratch": {"image_side": 97}}, "image_side=97 must be a multiple"),
        ({"steps": "x"}, "'steps' is 'x'"),
        ({"steps": True}, "'steps' is True"),
        ({"steps": None, "minutes": 0}, "'minutes' is 0: it should be greater than 0"),
        ({"accumulate": 0}, "'accumulate' is 0"),
        ({"learning_rate": -1e-3}, "'learning_rate' is -0.001"),
        ({"learning_rate": float("nan")}, "'learning_rate' is nan"),
        ({"warmup": 1.0}, "'warmup' is 1.0"),
        ({"shares": {}}, "'shares' gives no task a share above 0"),
        ({"shares": {"look": 0}}, "'shares' gives no task a share above 0"),
        ({"shares": {"look": -1}}, "'shares.look' is -1"),
        ({"lora": {"rank": 0}}, "'lora.rank' is 0"),
        ({"lora": {"rnk": 2}}, "unknown key 'lora.rnk': do you mean 'rank'"),
        ({"zzz": 2}, "unknown key 'zzz'$"),
        ({"shares": {"lok": 1}}, r"names \['lok'\]; tasks are .*'picture_words'"),
        ({"augmentation": {"noise": "much"}}, "'augmentation.noise' is 'much'"),
        ({"then": {"steps": 1, "scratch": {}}}, "'then' goes on from the model of this run"),
        ({"then": {"steps": 1, "then": {"steps": 1}}}, "'then' goes on from the model of this run"),
        ({"then": {}}, "'then' is a run of its own: give it 'minutes' or 'steps'"),
        ({"then": 3}, "'then' is 3"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_named(
    said: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(RecipeError, match=refusal):
        Recipe.of({"steps": 1, **said})


def test_the_file_of_a_wrong_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text in ("steps = 0", "steps = ["):
        path.write_text(text, "utf-8")
        with pytest.raises(RecipeError, match=r"the recipe '.*mine\.toml'"):
            Recipe.load(path)


def test_a_second_run_takes_over_what_it_does_not_change() -> None:
    recipe = Recipe.of(
        {
            "minutes": 3,
            "scratch": {},
            "tokens_per_batch": 512,
            "muon_rate": 0.01,
            "shares": {"look": 2.0, "fuse": 1.0},
            "then": {"minutes": 1, "muon_rate": 0.002, "shares": {"score_target": 1.0}},
        }
    )
    then = recipe.then
    assert then is not None
    assert (then.minutes, then.scratch, then.tokens_per_batch) == (1, None, 512)
    assert (then.muon_rate, then.shares) == (0.002, {"score_target": 1.0})
    assert recipe.taught == {"look": 2.0, "fuse": 1.0, "score_target": 1.0}
    shorter = recipe.lasting(2)
    assert shorter.then is not None
    assert (shorter.minutes, shorter.then.minutes) == (1.5, 0.5)


def test_two_runs_of_which_one_counts_steps_have_no_common_time() -> None:
    recipe = Recipe(steps=3, then=Recipe(minutes=1))
    with pytest.raises(RecipeError, match="cannot be laid over minutes"):
        recipe.lasting(2)
