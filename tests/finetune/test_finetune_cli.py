"""`srec finetune` as a person or a script meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mllm_srec.finetune.cli import finetune_app
from mllm_srec.finetune.data.records import Record, write_records
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.write import write_data
from mllm_srec.llm.prompting import render
from mllm_srec.store.home import Home
from tests.agent.shop import fill

SREC = "from mllm_srec.agent.cli import main; main()"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Home.open(tmp_path / "home", create=True) as opened:
        fill(opened)
    return tmp_path / "home"


def srec(
    home: Path, *arguments: object, group: str | None = "finetune"
) -> "subprocess.CompletedProcess[str]":
    groups = [] if group is None else [group]
    return subprocess.run(
        [sys.executable, "-c", SREC, *groups, *map(str, arguments), "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "160"},
    )


def answer(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_data_are_made_without_labels_and_found_good(home: Path, tmp_path: Path) -> None:
    done = srec(home, "data", "--messages", 64, "--out", tmp_path / "sft", "--json")
    made = answer(done)
    assert made["tasks"]["score_target"] > 0
    assert "making records: " in done.stderr
    checked = srec(home, "check", tmp_path / "sft", "--recipe", "films", "--json")
    assert checked.returncode == 0
    assert answer(checked)["ok"]
    assert answer(checked)["records"]["train"] == made["train"]
    total = made["train"] + made["validation"]
    assert f"checking records: {total:,} of {total:,}" in checked.stderr


def test_a_recipe_that_looks_at_pictures_does_not_fit_data_of_texts(
    home: Path, tmp_path: Path
) -> None:
    with Home.open(home) as opened:
        write_data(opened, None, tmp_path / "sft", DataSettings(messages=20))
    checked = srec(home, "check", tmp_path / "sft", "--json")
    assert checked.returncode == 1
    faults = answer(checked)["faults"]
    assert [(fault["line"], fault["value"]) for fault in faults] == [
        (None, "'look'"),
        (None, "'picture_words'"),
    ]
    assert all("`--recipe films`" in fault["way_out"] for fault in faults)
    asked = ("--data", tmp_path / "sft", "--out", tmp_path / "run")
    refused = srec(home, "train", *asked)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "'look': its share is 0.04, and no record" in refused.stderr
    assert not (tmp_path / "run" / "scratch").exists()


def test_a_base_and_its_recipe_are_looked_at_first(home: Path, tmp_path: Path) -> None:
    asked = ["train", "--home", str(home), "--data", str(tmp_path), "--out", str(tmp_path / "run")]

    def refusal(*more: str) -> str:
        return str(CliRunner().invoke(finetune_app, [*asked, *more]).exception)

    assert "recipe 'srec-tiny' starts from nothing" in refusal("--base", str(tmp_path))
    assert "recipe 'lora' starts from a model" in refusal("--recipe", "lora")
    assert "is no model folder" in refusal("--recipe", "lora", "--base", str(tmp_path))
    assert "fetch it with `hf download" in refusal("--recipe", "lora", "--base", "nobody/nothing")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", ["0", "nan", "inf"])
def test_a_training_lasts_some_minutes(tmp_path: Path, minutes: str) -> None:
    out = ("--out", str(tmp_path / "run"), "--minutes", minutes)
    for asked in (["train", "--data", str(tmp_path)], ["ablate", "--base", str(tmp_path)]):
        refused = CliRunner().invoke(finetune_app, [*asked, *out])
        assert refused.exit_code == 2
        assert "--minutes" in refused.output
    assert not (tmp_path / "run").exists()


def test_faulty_data_are_listed_and_the_exit_code_says_so(home: Path, tmp_path: Path) -> None:
    missing = Record.of("look", render("look"), '{"what":"ball"}', ["0" * 64])
    for name in ("train", "validation"):
        write_records(tmp_path / f"{name}.jsonl", [missing])
    done = srec(home, "check", tmp_path, "--json")
    assert done.returncode == 1
    fault = answer(done)["faults"][0]
    assert (fault["file"], fault["line"], fault["place"]) == ("train.jsonl", 1, "images.0")
    shown = srec(home, "check", tmp_path)
    assert shown.returncode == 1
    assert "no picture" in shown.stdout
    assert "Traceback" not in shown.stderr


def test_a_folder_without_data_is_one_line(home: Path, tmp_path: Path) -> None:
    done = srec(home, "check", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().splitlines()[-1].startswith("srec: no 'train.jsonl' in")


def test_labels_and_a_teacher_exclude_each_other(home: Path, tmp_path: Path) -> None:
    done = srec(home, "data", "--out", tmp_path, "--labels", "x", "--teacher", "y")
    assert done.returncode == 2
    assert "give one of them" in done.stderr


def test_data_from_traces_need_traces_and_take_no_labels(home: Path, tmp_path: Path) -> None:
    done = srec(home, "data", "--from-traces", "--out", tmp_path / "sft")
    assert (done.returncode, done.stdout) == (1, "")
    assert "run a recommendation first" in done.stderr
    both = srec(home, "data", "--from-traces", "--labels", tmp_path / "x", "--out", tmp_path / "s")
    assert both.returncode == 2
    assert "give one of them" in both.stderr


@pytest.mark.parametrize(("targets", "cases"), [(1, 2), (2, 4)])
def test_several_successive_targets_of_a_user_can_be_asked_for(
    home: Path, targets: int, cases: int
) -> None:
    asked = ("evaluate", "--rows", "popularity", "--targets", targets)
    report = answer(srec(home, *asked, "--json", group=None))
    assert (report["users"], report["cases"]) == (2, cases)
    if targets == 2:
        assert "2 users, 4 targets, 8 items" in srec(home, *asked, group=None).stdout
        refused = srec(home, *asked, "--split-by", "time", group=None)
        assert refused.returncode == 1
        assert "a time split asks each user once" in refused.stderr


def test_help_lists_the_commands_in_the_order_of_their_use() -> None:
    _, listed = CliRunner().invoke(finetune_app, ["--help"]).output.split("Commands:\n")
    commands = [line.split()[0] for line in listed.splitlines() if line]
    assert commands == ["data", "check", "train", "export", "combine", "evaluate", "ablate"]


def sample_shop(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Draw a small shop in a process that works in a folder."""
    return subprocess.run(
        [sys.executable, "-c", SREC, "sample-shop", "--items", "64", "--users", "10", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


def test_a_sample_shop_is_drawn_and_says_how_far_it_is(tmp_path: Path) -> None:
    done = sample_shop(tmp_path, "--out", "shop", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"out": "shop"}), done.stderr
    drawn = len(list((tmp_path / "shop" / "images").iterdir()))
    assert f"drawing pictures: {drawn} of {drawn}" in done.stderr
    assert "drawing users and what they pick: 10 of 10" in done.stderr
    assert {path.name for path in (tmp_path / "shop").iterdir()} == {
        "images", "interactions.parquet", "items.parquet", "labels.parquet", "truth",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--seed", "-1", "--out", "shop"], 2, "--seed"),
        (["--out", "file"], 1, "srec: the folder '"),
        (["--out", "file/shop"], 1, "(Not a directory): give --out a folder"),
    ],
)
def test_a_sample_shop_that_cannot_be_drawn_says_why(
    tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    (tmp_path / "file").write_text("mine")
    done = sample_shop(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "name", ["items.parquet", "labels.parquet", "images/mine.jpg", "truth/law"]
)
def test_a_sample_shop_is_not_drawn_over_what_is_there(tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    done = sample_shop(tmp_path, "--out", ".")
    assert done.returncode == 1
    first = name.partition("/")[0]
    assert f"srec: '{first}' is there already" in done.stderr
    assert "give --out another folder" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"
