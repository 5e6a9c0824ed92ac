"""`srec finetune data` with its options, on a small drawn shop."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mllm_srec.agent.ingest import ingest
from mllm_srec.finetune.cli import finetune_app
from mllm_srec.finetune.shop.make import make_shop
from tests.agent.shop import MODEL, scripted

RUNNER = CliRunner()
SREC = Path(sys.executable).with_name("srec")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    make_shop(1, 64, 10, folder)
    ingest(
        folder / "home",
        items=folder / "items.parquet",
        interactions=folder / "interactions.parquet",
        images=folder,
        engine=scripted(),
        model=MODEL,
        fuse_now=False,
    )
    return folder / "home"


def test_options_reach_the_records_and_data_json_keeps_them(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    labels = str(home.parent / "labels.parquet")
    asked = ["data", "--home", str(home), "--out", str(tmp_path), "--labels", labels, "--json"]
    options = ["--messages", "32", "--split-by", "time", "--form", "trl"]
    RUNNER.invoke(finetune_app, [*asked, *options], catch_exceptions=False)
    report = json.loads(capfd.readouterr().out)
    about = json.loads((tmp_path / "data.json").read_text("utf-8"))
    assert about["settings"]["split"] == {"split_by": "time", "targets": 1}
    assert about["settings"]["messages"] == 32
    assert (about["form"], about["train"]) == ("trl", report["train"])
    lines = (tmp_path / "train.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == report["train"] == sum(report["tasks"].values())
    assert "branches" not in lines[0]
    assert list((tmp_path / "images").glob("*.png"))


@pytest.mark.parametrize("form", ["groups", "trl"])
def test_a_full_disk_leaves_the_data_of_before(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    labels = str(home.parent / "labels.parquet")
    asked = ["data", "--home", str(home), "--out", str(tmp_path), "--labels", labels]
    RUNNER.invoke(finetune_app, [*asked, "--messages", "32"], catch_exceptions=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # A file may have so many bytes; the form of others takes more than ours.
    most = len(before["train.jsonl"]) + (1000 if form == "trl" else -1000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        asked += ["--messages", "32", "--form", form]
        done = RUNNER.invoke(finetune_app, asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the disk is full" in str(done.exception)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert left == before


def test_a_folder_that_cannot_be_made_is_said_first(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    asked = ["data", "--home", str(home), "--out", str(tmp_path / "file")]
    done = RUNNER.invoke(finetune_app, asked)
    assert "cannot be made" in str(done.exception)
    assert "records" not in done.output


def test_a_seed_below_nothing_is_refused(home: Path, tmp_path: Path) -> None:
    asked = ["data", "--home", str(home), "--out", str(tmp_path), "--seed", "-1"]
    assert RUNNER.invoke(finetune_app, asked).exit_code == 2


def test_a_time_split_takes_no_several_targets(home: Path, tmp_path: Path) -> None:
    asked = ["data", "--home", str(home), "--out", str(tmp_path), "--split-by", "time"]
    done = RUNNER.invoke(finetune_app, [*asked, "--targets", "2"])
    assert "split by user" in str(done.exception)


def test_records_from_traces_have_our_form_alone(home: Path, tmp_path: Path) -> None:
    asked = ["data", "--home", str(home), "--out", str(tmp_path), "--from-traces"]
    done = RUNNER.invoke(finetune_app, [*asked, "--form", "trl"])
    assert done.exit_code == 2
    assert "--form" in done.output


def test_another_process_writes_the_same_records(home: Path, tmp_path: Path) -> None:
    labels = str(home.parent / "labels.parquet")
    written = []
    # Sets of strings have another order under each hash seed.
    for seed in ("1", "2"):
        out = tmp_path / seed
        asked = ["data", "--home", str(home), "--labels", labels, "--out", str(out)]
        subprocess.run(
            [SREC, "finetune", *asked, "--messages", "64"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
