"""What a model folder is, and what is said of a folder that is none."""

import json
from pathlib import Path

import pytest

from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.model_files import resolve_model


def test_a_relative_path_becomes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("m") == (tmp_path / "m").resolve()


def test_adapters_are_told_from_a_model_with_the_command_that_merges_them(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4}))
    with pytest.raises(ModelError) as refused:
        resolve_model(tmp_path)
    assert f"srec finetune export --model {tmp_path} --out DIR" in str(refused.value)


@pytest.mark.parametrize("name", ["my models/m", "run--1/model", "run/model?"])
def test_a_path_that_is_not_there_is_no_model(name: str) -> None:
    with pytest.raises(ModelError, match=r"is no model folder: it needs a config\.json"):
        resolve_model(name)


def test_any_other_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no model folder: it needs a config\.json"):
        resolve_model(tmp_path)
