"""A run that is killed, runs out of disk or finds other data: what is kept stays usable."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mllm_srec.finetune.data.records import RecordError
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.output_folder import alone
from mllm_srec.finetune.training.checkpoint_files import BrokenCheckpoint
from mllm_srec.finetune.training.recipe import LoraSettings, Recipe
from mllm_srec.finetune.training.run_settings import OtherRun
from mllm_srec.finetune.training.train import TrainReport, train
from mllm_srec.finetune.training.trainer import AnswerTrainer, Diverged
from mllm_srec.store.errors import StoreError
from tests.finetune.small import (
    SHARES,
    TASK_SHARES,
    fuse,
    group,
    look,
    picture_files,
    weights,
    write_pictures,
    write_small_data,
    write_small_model,
)

STEPS = 20
KILLED_AT = 11

TRAIN = """
import json, os, signal, sys
from pathlib import Path
from tests.finetune.small import picture_files
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.train import train

recipe, data, images, out, base, killed_at, resume = sys.argv[1:]

def kill(event, arguments):
    # The state of the trainer is the last thing of a checkpoint but one: the rest is written.
    if event == "open" and f"checkpoint-{killed_at}/trainer_state.json" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
try:
    train(
        Recipe.of(json.loads(recipe)),
        Path(data),
        picture_files(Path(images)),
        Path(out),
        base=Path(base),
        resume=resume == "True",
    )
except FinetuneError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Runs:
    """One recipe on one data folder; each run in its own folder, in this process or a child."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.base = write_small_model(folder / "base")
        self.images = write_pictures(folder / "images")
        self.data = write_small_data(folder / "data")
        # A checkpoint after every step, and pictures that chance changes.
        self.settings: dict[str, Any] = {
            "steps": STEPS,
            "tokens_per_batch": 512,
            "shares": SHARES,
            "bf16": False,
            "checkpoint_minutes": 1e-9,
            "log_steps": 1,
            "augmentation": {"noise": 0.1},
            **settings,
        }

    def here(self, name: str, *, resume: bool = False, **changes: Any) -> TrainReport:
        recipe = Recipe.of(self.settings | changes)
        pictures = picture_files(self.images)
        out = self.folder / name
        return train(recipe, self.data, pictures, out, base=self.base, resume=resume)

    def child(
        self, name: str, *, killed_at: int = 0, resume: bool = False, before: str = ""
    ) -> tuple[int, str]:
        paths = (self.data, self.images, self.folder / name, self.base)
        arguments = [json.dumps(self.settings), *map(str, paths), str(killed_at), str(resume)]
        process = subprocess.run(
            [sys.executable, "-c", before + TRAIN, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return process.returncode, process.stderr

    def checkpoints(self, name: str) -> list[str]:
        return sorted(path.name for path in (self.folder / name).glob("checkpoint-*"))

    def losses(self, name: str) -> dict[int, dict[str, float]]:
        lines = (self.folder / name / "log.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return {
            entry["step"]: {key: entry[key] for key in entry if key.startswith("loss_")}
            for entry in entries
            if "grad_norm" in entry
        }


@pytest.mark.parametrize(
    "settings",
    [
        {"muon_rate": 0.02},
        {
            "lora": {"rank": 4, "dropout": 0.2},
            "accumulate": 2,
            "shares": TASK_SHARES,
            "bf16": True,
        },
    ],
    ids=["all weights with Muon", "adapters with dropout on a base in bfloat16"],
)
def test_a_run_killed_while_saving_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    runs = Runs(tmp_path, **settings)
    whole = runs.here("whole")
    code, errors = runs.child("killed", killed_at=KILLED_AT)
    assert code == -signal.SIGKILL, errors
    assert runs.checkpoints("killed") == ["checkpoint-10", "checkpoint-9"]
    resumed = runs.here("killed", resume=True)
    assert resumed.steps == STEPS
    assert runs.checkpoints("killed") == ["checkpoint-19", "checkpoint-20"]
    assert not (tmp_path / "killed" / "partial").exists()
    assert runs.losses("killed") == runs.losses("whole")
    one, other = weights(whole.folder), weights(resumed.folder)
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_a_full_disk_is_said_and_the_checkpoint_before_it_is_usable(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.here("out", steps=2)
    runs.settings["steps"] = 4
    # A file may have so many bytes: the weights fit, the state of the optimiser does not.
    most = (tmp_path / "out" / "checkpoint-2" / "model.safetensors").stat().st_size + 9999
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
    code, errors = runs.child("out", resume=True, before=limited)
    assert code == 1
    said = errors.splitlines()[-1]
    assert said.startswith("WriteError:"), errors
    assert "checkpoint-3' could not be written" in said
    assert "free space on the disk" in said
    assert runs.checkpoints("out") == ["checkpoint-1", "checkpoint-2"]
    assert runs.here("out", resume=True).steps == 4
    assert runs.checkpoints("out") == ["checkpoint-3", "checkpoint-4"]


@pytest.mark.parametrize(
    "cut", ["optimizer.pt", "rng_state.pth", "model.safetensors", "trainer_state.json"]
)
def test_a_checkpoint_that_lost_power_cut_is_named_and_the_one_before_it_goes_on(
    tmp_path: Path, cut: str
) -> None:
    runs = Runs(tmp_path)
    runs.here("out", steps=2)
    last = tmp_path / "out" / "checkpoint-2"
    os.truncate(last / cut, 100)
    with pytest.raises(BrokenCheckpoint, match=f"{cut} in '.*checkpoint-2' is broken: delete"):
        runs.here("out", steps=3, resume=True)
    shutil.rmtree(last)
    assert runs.here("out", steps=3, resume=True).steps == 3


def test_a_folder_with_checkpoints_is_not_begun_anew(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.here("out", steps=1)
    with pytest.raises(OtherRun, match="'checkpoint-1' of an earlier run: go on with `--resume`"):
        runs.here("out", steps=1)


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    with alone(tmp_path / "out"), pytest.raises(FinetuneError, match="another process works in"):
        runs.here("out", steps=1)
    runs.here("out", steps=1)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(FinetuneError, match="cannot be written to"), alone(tmp_path):
        pass


def test_a_checkpoint_of_other_prompts_data_or_settings_is_refused(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.here("out", steps=1)
    with pytest.raises(OtherRun, match="other recipe key 'learning_rate'"):
        runs.here("out", resume=True, learning_rate=0.5)
    settings = tmp_path / "out" / "settings.json"
    kept = json.loads(settings.read_text())
    kept["prompts"]["fuse"] = "0" * 64
    settings.write_text(json.dumps(kept))
    with pytest.raises(OtherRun, match=r"other prompts/fuse\.md: start anew"):
        runs.here("out", resume=True)
    del kept["prompts"]["fuse"]
    settings.write_text(json.dumps(kept))
    write_small_data(runs.data, train=[look("red"), fuse(), group(["No", "Yes"])])
    with pytest.raises(OtherRun, match="other data"):
        runs.here("out", resume=True)
    settings.unlink()
    with pytest.raises(OtherRun, match=r"'settings\.json' is missing"):
        runs.here("out", resume=True)


def test_the_best_model_by_a_figure_is_kept_beside_the_last(tmp_path: Path) -> None:
    runs = Runs(tmp_path, best="score_target_loss", learning_rate=0.05)
    report = runs.here("out", steps=8)
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    losses = {x["step"]: x["eval_score_target_loss"] for x in lines if "eval_look_loss" in x}
    about = json.loads((tmp_path / "out/best.json").read_text())
    assert about["value"] == pytest.approx(min(losses.values()), abs=1e-5)
    assert about["step"] == min(losses, key=lambda step: losses[step])
    assert report.best == tmp_path / "out" / "best"
    assert set(weights(report.best)) == set(weights(report.folder))


def test_the_best_model_can_be_that_of_the_best_order_of_items(tmp_path: Path) -> None:
    runs = Runs(tmp_path, best="score_target_auc", shares={"score_target": 1.0}, learning_rate=0.05)
    report = runs.here("out", steps=8)
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    orders = [x["eval_score_target_auc"] for x in lines if "eval_score_target_loss" in x]
    # Two liked items against another: the order is learned by heart.
    assert set(orders) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert kept(tmp_path / "out")["value"] == max(orders) == 1.0
    assert report.validation["eval_score_target_auc"] == orders[-1]


@pytest.mark.parametrize(
    ("minutes", "step"),
    [(1e-9, 3), (60.0, 4)],
    ids=["found by validation", "found by the next step"],
)
def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, minutes: float, step: int
) -> None:
    runs = Runs(tmp_path, best="look_loss", shares={"look": 1.0}, checkpoint_minutes=minutes)
    clip = AnswerTrainer._clip_grad_norm

    def explode(trainer: Any, model: Any) -> Any:
        if trainer.state.global_step == 2:
            for weight in model.parameters():
                weight.grad = torch.full_like(weight, math.inf)
        return clip(trainer, model)

    with monkeypatch.context() as patched:
        patched.setattr(AnswerTrainer, "_clip_grad_norm", explode)
        with pytest.raises(Diverged, match=f"'look_loss' is nan in step {step}: .* lower rates"):
            runs.here("out", steps=5)
    assert not (tmp_path / "out" / "model").exists()
    if minutes < 1:
        assert kept(tmp_path / "out")["step"] <= 2
        assert runs.checkpoints("out") == ["checkpoint-1", "checkpoint-2"]
        assert runs.here("out", steps=5, resume=True).steps == 5


def kept(folder: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / "best.json").read_text())
    return about


def test_a_new_run_in_a_folder_does_not_measure_itself_against_the_old_best(
    tmp_path: Path,
) -> None:
    # Killed between its first validation and its first checkpoint.
    runs = Runs(tmp_path, best="score_target_loss", checkpoint_minutes=60.0)
    out = tmp_path / "out"
    runs.here("out", steps=1)
    about = {"figure": "score_target_loss", "value": -1.0, "step": 99}
    (out / "best.json").write_text(json.dumps(about))
    shutil.rmtree(out / "model")
    runs.here("out", steps=1)
    assert kept(out)["step"] == 1
    assert kept(out)["value"] > 0
    shutil.rmtree(out / "model")
    assert runs.here("out", steps=1, best=None).best is None
    assert not (out / "best").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_model_is_not_trained_over(tmp_path: Path, *, resume: bool) -> None:
    # So short a run leaves no checkpoint that would say so.
    runs = Runs(tmp_path, best="score_target_loss", checkpoint_minutes=60.0)
    report = runs.here("out", steps=1)
    assert report.best is not None
    before = [weights(report.folder), weights(report.best)]
    with pytest.raises(OtherRun, match="holds the model of a run that came to its end"):
        runs.here("out", steps=2, resume=resume)
    after = [weights(report.folder), weights(report.best)]
    assert all(
        torch.equal(one, o[key])
        for n, o in zip(before, after, strict=True)
        for key, one in n.items()
    )


def test_a_run_that_goes_on_with_another_figure_begins_to_compare_anew(tmp_path: Path) -> None:
    runs = Runs(tmp_path, best="score_target_loss")
    runs.here("out", steps=1)
    about = {"figure": "score_target_loss", "value": -1.0, "step": 1}
    (tmp_path / "out/best.json").write_text(json.dumps(about))
    # Killed between the two moves of a write: the best model lies aside.
    (tmp_path / "out/best").rename(tmp_path / "out/best.old")
    runs.here("out", steps=2, resume=True)
    assert kept(tmp_path / "out") == about
    runs.here("out", steps=3, resume=True, best="fuse_loss")
    assert kept(tmp_path / "out")["figure"] == "fuse_loss"


@pytest.mark.parametrize("name", ["log.jsonl", "loss.png"])
def test_a_full_disk_is_said_when_the_log_does_not_fit(tmp_path: Path, name: str) -> None:
    runs = Runs(tmp_path)
    runs.here("out", steps=1)
    file = tmp_path / "out" / name
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(StoreError, match=f"the disk is full: '.*{name}'"):
        runs.here("out", steps=2, resume=True)


@pytest.mark.parametrize("name", ["settings.json", "dropped.jsonl"])
def test_a_full_disk_is_said_before_the_first_step(tmp_path: Path, name: str) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to("/dev/full")
    with pytest.raises(StoreError, match=f"the disk is full: '.*{name}'"):
        runs.here("out", steps=1, max_length=100, shares={"look": 1.0})


def test_going_on_without_a_checkpoint_is_said(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    said: list[str] = []
    for _ in range(2):
        train(
            Recipe.of(runs.settings | {"steps": 1}),
            runs.data,
            picture_files(runs.images),
            tmp_path / "out",
            base=runs.base,
            resume=True,
            say=said.append,
        )
    [line] = said
    assert "holds no checkpoint to go on from: training starts anew" in line


def test_a_run_leaves_what_it_was_made_of(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    report = runs.here("out", steps=1)
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert set(settings["prompts"]) >= {"look", "fuse", "score_target"}
    assert settings["recipe"]["steps"] == 1
    assert json.loads((report.folder / "settings.json").read_text()) == settings
    assert (tmp_path / "out/loss.png").read_bytes().startswith(b"\x89PNG")
    # TRL's card calls it a model of the base None.
    assert list((tmp_path / "out").rglob("README.md")) == []


def test_adapters_alone_move_and_end_up_in_the_weights(tmp_path: Path) -> None:
    runs = Runs(tmp_path, lora={"rank": 4}, learning_rate=0.01, shares=TASK_SHARES)
    report = runs.here("out", steps=3)
    before, after = weights(runs.base), weights(report.folder)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    assert all("text_model.layers" in key and "_proj" in key for key in moved)
    assert Recipe.of(runs.settings).lora == LoraSettings(rank=4)


@pytest.mark.parametrize(("bf16", "held"), [(True, torch.bfloat16), (False, torch.float32)])
def test_what_adapters_leave_as_it_is_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, bf16: bool, held: torch.dtype
) -> None:
    train_of, held_in = AnswerTrainer.train, set[tuple[bool, torch.dtype]]()

    def watched(trainer: Any, **given: Any) -> None:
        train_of(trainer, **given)
        assert trainer.model.is_gradient_checkpointing
        held_in.update((each.requires_grad, each.dtype) for each in trainer.model.parameters())

    monkeypatch.setattr(AnswerTrainer, "train", watched)
    Runs(tmp_path, lora={"rank": 4}, shares=TASK_SHARES, bf16=bf16).here("out", steps=1)
    assert held_in == {(False, held), (True, torch.float32)}


@pytest.mark.parametrize("killed_at", [2, 4])
def test_two_runs_go_on_in_the_one_that_was_killed(tmp_path: Path, killed_at: int) -> None:
    runs = Runs(tmp_path, steps=3, then={"steps": 4, "learning_rate": 2e-4})
    straight = runs.here("straight")
    first = tmp_path / "straight" / "first" / "model"
    assert any(not torch.equal(a, b) for a, b in pairs(weights(first), weights(runs.base)))
    code, _ = runs.child("killed", killed_at=killed_at)
    assert code == -signal.SIGKILL
    trained = (tmp_path / "killed" / "first" / "model").exists()
    assert trained == (killed_at == 4)
    before = log_of(tmp_path / "killed" / "first")
    gone_on = runs.here("killed", resume=True)
    assert gone_on.steps == straight.steps == 4
    assert (log_of(tmp_path / "killed" / "first") == before) == trained
    assert all(
        torch.equal(a, b) for a, b in pairs(weights(gone_on.folder), weights(straight.folder))
    )
    with pytest.raises(OtherRun, match="recipe key 'muon_rate'"):
        runs.here("killed", resume=True, muon_rate=0.01)


def log_of(folder: Path) -> str:
    return (folder / "log.jsonl").read_text("utf-8")


def pairs(
    some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(weight, others[name]) for name, weight in some.items()]


@pytest.mark.parametrize("wrong", [{"shares": {"explain": 1.0}}, {"best": "explain_loss"}])
def test_what_only_the_second_run_wants_is_missed_before_the_first(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    runs = Runs(tmp_path, then={"steps": 1, **wrong})
    with pytest.raises(RecordError, match="explain"):
        runs.here("out")
    assert not (tmp_path / "out" / "first").exists()


def test_the_folder_of_another_run_is_refused_before_the_first_run(tmp_path: Path) -> None:
    runs = Runs(tmp_path, steps=2)
    runs.here("out")
    for resume, refusal in ((False, "of an earlier run"), (True, "holds no first run")):
        with pytest.raises(OtherRun, match=refusal):
            runs.here("out", then={"steps": 1}, resume=resume)
    assert not (tmp_path / "out" / "first").exists()


def test_a_second_run_knows_what_the_first_was_made_of(tmp_path: Path) -> None:
    Runs(tmp_path, steps=1, then={"steps": 2}).here("out")
    settings = json.loads((tmp_path / "out" / "model" / "settings.json").read_text())
    assert settings["recipe"]["steps"] == 2
    assert settings["base_settings"]["recipe"]["steps"] == 1
