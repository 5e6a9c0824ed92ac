"""A folder is there whole, or as it was."""

from pathlib import Path

import pytest

from mllm_srec.finetune.training.whole_folder import WriteError, recover_folder, whole_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with whole_folder(tmp_path / "model") as partial:
        (partial / "weights").write_text("old")
    return tmp_path / "model"


def write(folder: Path, text: str) -> None:
    with whole_folder(folder) as partial:
        assert list(partial.iterdir()) == []
        (partial / "weights").write_text(text)
        assert (folder / "weights").read_text() == "old"
        if text == "bad":
            raise OSError(28, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def test_the_new_folder_takes_the_place_of_the_old_one(folder: Path) -> None:
    write(folder, "new")
    assert (folder / "weights").read_text() == "new"
    assert names(folder) == ["model"]


def test_after_a_failure_the_old_folder_stands_alone(folder: Path) -> None:
    with pytest.raises(WriteError, match=r"model' could not be written .*No space left"):
        write(folder, "bad")
    assert (folder / "weights").read_text() == "old"
    assert names(folder) == ["model"]


def test_what_a_kill_left_of_an_earlier_try_is_not_taken_in(folder: Path) -> None:
    (folder.parent / "partial" / "model").mkdir(parents=True)
    (folder.parent / "partial" / "model" / "stray").write_text("half")
    write(folder, "new")
    assert [path.name for path in folder.iterdir()] == ["weights"]


def test_a_kill_between_the_two_moves_is_made_good(folder: Path) -> None:
    folder.rename(folder.with_name("model.old"))
    recover_folder(folder)
    assert (folder / "weights").read_text() == "old"
    assert names(folder) == ["model"]
