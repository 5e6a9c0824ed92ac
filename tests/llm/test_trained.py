"""What a model's folder says it was trained with."""

import json
from pathlib import Path

import pytest

from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.load import bundled_model
from mllm_srec.llm.prompting import prompt_hash
from mllm_srec.llm.trained import SETTINGS, changed_prompts, read_settings


def test_the_model_that_ships_was_trained_with_the_prompts_that_are_served() -> None:
    settings = read_settings(bundled_model())
    assert {"look", "fuse", "score_target", "understand"} <= set(settings["prompts"])
    assert changed_prompts(settings) == []


def test_prompts_that_changed_or_went_are_named(tmp_path: Path) -> None:
    kept = {"look": prompt_hash("look"), "fuse": "0" * 64, "gone": prompt_hash("look")}
    (tmp_path / SETTINGS).write_text(json.dumps({"prompts": kept}))
    assert changed_prompts(read_settings(tmp_path)) == ["fuse", "gone"]


@pytest.mark.parametrize("written", [None, "[]", "{}", '{"prompts": ["look"]}'])
def test_a_model_of_another_maker_says_nothing(tmp_path: Path, written: str | None) -> None:
    if written is not None:
        (tmp_path / SETTINGS).write_text(written)
    assert changed_prompts(read_settings(tmp_path)) == []


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text("{")
    with pytest.raises(ModelError, match=r"settings\.json' is broken"):
        read_settings(tmp_path)
