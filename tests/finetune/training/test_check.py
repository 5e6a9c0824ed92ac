"""Faulty data are found before a model loads, and refused by training."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mllm_srec.finetune.data.entries import Fault, write_origins
from mllm_srec.finetune.data.records import AnyRecord, RecordError
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.check import Checked, check_data
from mllm_srec.finetune.training.check_view import checked_facts, checked_view
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.shipped_recipes import recipe_at
from mllm_srec.finetune.training.train import train
from tests.finetune.small import (
    SHARES,
    fuse,
    group,
    look,
    picture_files,
    train_records,
    write_pictures,
    write_small_data,
    write_small_model,
)
from tests.llm.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("images"))


class Checker:
    """Checks a data folder made of given lines; the recipe teaches what its data hold."""

    def __init__(self, folder: Path, model: Path, images: Path) -> None:
        self.folder, self.model, self.images = folder, model, images

    def __call__(self, *lines: AnyRecord | dict[str, Any] | str, **settings: Any) -> Checked:
        write_small_data(self.folder)
        text = "".join(f"{_line(line)}\n" for line in lines or train_records())
        (self.folder / "train.jsonl").write_text(text, "utf-8")
        return self.again(**settings)

    def again(self, **settings: Any) -> Checked:
        recipe = Recipe(**{"steps": 1, "shares": {"look": 1.0}, **settings})
        return check_data(self.folder, picture_files(self.images), self.model, recipe)

    def only(self, *lines: AnyRecord | dict[str, Any] | str) -> Fault:
        """The one line that is wrong."""
        [fault] = [each for each in self(*lines).faults if each.line is not None]
        return fault


def _line(line: AnyRecord | dict[str, Any] | str) -> str:
    if isinstance(line, str):
        return line
    return json.dumps(line) if isinstance(line, dict) else line.model_dump_json()


@pytest.fixture
def check(tmp_path: Path, model: Path, images: Path) -> Checker:
    return Checker(tmp_path / "data", model, images)


def plain(record: AnyRecord) -> dict[str, Any]:
    return record.model_dump(mode="json")


def test_good_data_have_no_fault(check: Checker) -> None:
    checked = check()
    assert checked.faults == []
    assert checked_facts(checked) == {
        "ok": True,
        "records": {"train": 4, "validation": 3},
        "faults": [],
        "over_long": [],
    }


def test_a_line_that_is_no_json_is_named(check: Checker) -> None:
    fault = check.only(look("red"), "{broken")
    assert (fault.file, fault.line, fault.place) == ("train.jsonl", 2, "record")
    assert "Invalid JSON" in fault.problem
    assert "srec finetune data" in fault.way_out


@pytest.mark.parametrize("answer", ["", "  \n"])
def test_an_empty_answer_is_named(check: Checker, answer: str) -> None:
    record = plain(fuse())
    record["messages"][-1]["content"] = [{"type": "text", "text": answer}]
    assert "not be empty" in check.only(record).problem


@pytest.mark.parametrize("label", ["", "  \n"])
def test_an_empty_answer_of_a_group_is_named(check: Checker, label: str) -> None:
    record = plain(group())
    record["branches"][1]["label"] = label
    fault = check.only(record)
    assert fault.place.endswith("branches.1.label")
    assert "not be empty" in fault.problem


def test_a_weight_without_end_is_named(check: Checker) -> None:
    line = json.dumps(plain(group())).replace('"weight": 1.0', '"weight": 1e999', 1)
    assert "finite" in check.only(line).problem


def test_two_pictures_and_one_placeholder_are_named(check: Checker) -> None:
    record = plain(look("red")) | {"images": ["red.png", "blue.png"]}
    assert "1 image parts but 2 images" in check.only(record).problem


def test_a_missing_picture_is_named_with_its_place(check: Checker) -> None:
    record = plain(look("red")) | {"images": ["pink.png"]}
    fault = check.only(look("blue"), record)
    assert (fault.line, fault.place, fault.value) == (2, "images.0", "'pink.png'")
    assert "no such file" in fault.problem


def test_a_picture_that_cannot_be_decoded_is_named(check: Checker, images: Path) -> None:
    (images / "torn.png").write_bytes((images / "red.png").read_bytes()[:60])
    record = plain(look("red")) | {"images": ["torn.png"]}
    assert check.only(record).place == "images.0"


def test_a_label_that_serving_does_not_read_is_named(check: Checker) -> None:
    fault = check.only(group(["Yes", "no"]))
    assert (fault.place, fault.value) == ("branches.1.label", "'no'")
    assert "'Yes' and 'No' alone" in fault.problem


def test_a_soft_label_is_no_measure(check: Checker) -> None:
    scores = group(["Yes", "No"])
    doubted = [branch.model_copy(update={"doubt": 0.25}) for branch in scores.branches]
    soft = scores.model_copy(update={"branches": tuple(doubted)})
    assert not check(soft, shares={"score_target": 1.0}).faults
    write_small_data(check.folder, validation=[soft])
    [fault] = check.again(shares={"score_target": 1.0}).faults
    assert (fault.file, fault.place, fault.value) == (
        "validation.jsonl",
        "branches.0.doubt",
        "'0.25'",
    )


def test_a_label_of_two_tokens_is_named(check: Checker, tmp_path: Path) -> None:
    check.model = make_tiny_model(tmp_path / "other")
    tokenizer = json.loads((check.model / "tokenizer.json").read_text())
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [m for m in merges if list(m) not in (["Ye", "s"], ["Y", "es"])]
    (check.model / "tokenizer.json").write_text(json.dumps(tokenizer))
    problems = {fault.value: fault.problem for fault in check(group(["Yes", "No"])).faults}
    assert "not exactly one token" in problems["'Yes'"]


def test_a_prompt_of_another_version_is_named_once_with_its_file(check: Checker) -> None:
    record = plain(fuse())
    text = record["messages"][1]["content"][0]["text"]
    record["messages"][1]["content"][0]["text"] = text.replace("Merge", "Join")
    fault = check.only(record, look("red"), record)
    assert (fault.line, fault.value) == (1, "'fuse'")
    assert fault.problem == "2 records were made from another version of prompts/fuse.md"


def test_another_system_prompt_is_named(check: Checker) -> None:
    record = plain(look("red"))
    record["messages"][0]["content"][0]["text"] = "You are a pirate."
    assert "prompts/system.md" in check.only(record).problem


def test_an_over_long_record_is_listed_and_no_fault(check: Checker) -> None:
    checked = check(look("red"), fuse("ball " * 1000), max_length=1000)
    assert checked.faults == []
    assert [(each.line, each.task) for each in checked.over_long] == [(2, "fuse")]


def test_a_task_with_a_share_and_no_record_is_a_fault_with_a_recipe_that_fits(
    check: Checker,
) -> None:
    faults = check(fuse(), group(), shares=SHARES | {"explain": 0.0}).faults
    assert [(each.file, each.line, each.value) for each in faults] == [
        ("train.jsonl", None, "'look'"),
        ("train.jsonl", None, "'picture_words'"),
    ]
    assert "`srec finetune data --labels`" in faults[0].way_out
    assert "set the share of 'look' to 0" in faults[0].way_out
    assert "--recipe" not in faults[0].way_out
    shown = str(faults[0])
    assert shown.startswith("train.jsonl, shares: 'look': its share is 1, and no record")


def test_the_recipe_that_is_named_teaches_what_the_data_hold(check: Checker) -> None:
    [fault] = check(look("red"), look("blue"), fuse(), shares=SHARES).faults
    assert fault.value == "'score_target'"
    assert "take `--recipe photos`, which fits these data and needs a `--base`" in fault.way_out
    photos = recipe_at("photos").shares
    assert check(look("red"), look("blue"), fuse(), shares=photos).faults == []


def test_a_task_of_over_long_records_alone_is_a_fault(check: Checker) -> None:
    assert check(look("red"), fuse(), shares={"look": 1.0, "fuse": 1.0}).faults == []
    shares = {"look": 1.0, "fuse": 1.0}
    checked = check(look("red"), fuse("ball " * 1000), shares=shares, max_length=1000)
    assert [fault.value for fault in checked.faults] == ["'fuse'"]
    assert "no record of at most 1,000 tokens" in checked.faults[0].problem


def test_a_best_figure_without_a_record_to_measure_it_on_is_a_fault(check: Checker) -> None:
    [fault] = check(best="explain_loss").faults
    assert (fault.file, fault.line, fault.place) == ("validation.jsonl", None, "best")
    assert "no record of 'explain'" in fault.problem
    assert check(best="fuse_loss").faults == []


def test_an_order_of_items_is_measured_in_groups_that_have_both_kinds(check: Checker) -> None:
    assert check(best="score_target_auc").faults == []
    alike: list[AnyRecord] = [group(["Yes", "Yes"]), *group().expand()]
    write_small_data(check.folder, validation=[look("green"), *alike, group()])
    assert check.again(best="score_target_auc").faults == []
    [fault] = check.again(best="score_target_auc", validation_records=4).faults
    assert (fault.file, fault.place) == ("validation.jsonl", "best")
    assert "none of the 4 scoring records" in fault.problem


def test_pictures_that_say_the_same_teach_no_words(check: Checker) -> None:
    [fault] = check(look("red"), shares={"picture_words": 1.0}).faults
    assert (fault.value, fault.place) == ("'picture_words'", "shares")
    assert "no word tells a picture from the rest" in fault.problem


def test_training_says_what_is_missing_before_it_encodes(check: Checker, tmp_path: Path) -> None:
    check(fuse(), group())
    recipe = Recipe(steps=1, shares=SHARES)

    def no_picture(name: str) -> Any:
        raise AssertionError(f"{name} was read")

    with pytest.raises(RecordError, match=r"'look': its share is 1.*; 1 more"):
        train(recipe, check.folder, no_picture, tmp_path / "out", base=check.model)


def test_a_picture_on_both_sides_is_refused(check: Checker) -> None:
    fault = check.only(look("red"), look("green"))
    assert (fault.file, fault.line, fault.value) == ("validation.jsonl", 1, "'green.png'")
    assert "trained on, too (train.jsonl, line 2)" in fault.problem


def test_a_user_on_both_sides_is_refused(check: Checker) -> None:
    check()
    write_origins(
        check.folder,
        {
            "train": ["item:red", "item:blue", "item:ball", "user:mia"],
            "validation": ["item:green", "item:kite", "user:mia"],
        },
    )
    [fault] = check.again().faults
    assert (fault.line, fault.place, fault.value) == (3, "origin", "'user:mia'")


@pytest.mark.parametrize("known", [1, 9])
def test_origins_of_other_records_are_refused(check: Checker, known: int) -> None:
    check()
    write_origins(check.folder, {"train": ["item:red"] * known, "validation": []})
    with pytest.raises(FinetuneError, match=rf"knows {known} lines .* which has \d:"):
        check.again()


@pytest.mark.parametrize("form", ["trl", "sharegpt"])
def test_records_for_other_trainers_are_refused_by_their_form(check: Checker, form: str) -> None:
    check()
    (check.folder / "data.json").write_text(json.dumps({"form": form}))
    with pytest.raises(FinetuneError, match=f"in the form '{form}', for other trainers"):
        check.again()


def test_a_folder_without_data_is_refused(check: Checker) -> None:
    check.folder.mkdir()
    with pytest.raises(FinetuneError, match=r"no 'train\.jsonl'.*srec finetune data"):
        check.again()


def test_training_refuses_what_the_check_finds(check: Checker, tmp_path: Path) -> None:
    record = plain(look("red")) | {"images": ["pink.png"]}
    check(record, look("blue"), fuse(), group())
    recipe = Recipe(steps=1, shares=SHARES)
    with pytest.raises(RecordError, match=r"train\.jsonl, line 1, images\.0: 'pink\.png'"):
        train(recipe, check.folder, picture_files(check.images), tmp_path / "out", base=check.model)
    assert not (tmp_path / "out" / "model").exists()


def test_what_is_wrong_is_shown_without_markup(check: Checker) -> None:
    record = plain(look("red")) | {"images": ["[bold]pink\x1b.png"]}
    console = Console(width=140, force_terminal=False)
    with console.capture() as shown:
        console.print(checked_view(check(record)))
    assert "1 things are wrong" in shown.get()
    assert "[bold]pink" in shown.get()
    assert "\x1b" not in shown.get()
