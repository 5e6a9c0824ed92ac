"""One run in two processes, as `torchrun` and `accelerate launch` start them; over gloo."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.train import train
from tests.finetune.small import (
    SHARES,
    picture_files,
    weights,
    write_pictures,
    write_small_data,
    write_small_model,
)

ROOT = Path(__file__).parents[3]
"""Where `tests` is found by the processes."""
TRAIN = """
import json, sys
from pathlib import Path
from tests.finetune.small import picture_files
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.train import train

recipe, data, images, out, base, resume = sys.argv[1:]
train(
    Recipe.of(json.loads(recipe)),
    Path(data),
    picture_files(Path(images)),
    Path(out),
    base=Path(base),
    resume=resume == "True",
    say=lambda line: print("SAID", line),
)
"""

ONE = {
    "steps": 6,
    "tokens_per_batch": 512,
    "shares": SHARES,
    "bf16": False,
    "log_steps": 1,
    "checkpoint_minutes": 1e-9,
}


class Runs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "train.py"
        self.script.write_text(TRAIN)
        self.base = write_small_model(folder / "base")
        self.images = write_pictures(folder / "images")
        self.data = write_small_data(folder / "data")

    def together(self, name: str, *, resume: bool = False, **changes: Any) -> str:
        """Train in two processes; what they printed."""
        paths = (self.data, self.images, self.folder / name, self.base)
        recipe = json.dumps(ONE | changes)
        launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
        done = subprocess.run(
            [*launch, "2", str(self.script), recipe, *map(str, paths), str(resume)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def model(self, name: str) -> dict[str, torch.Tensor]:
        return weights(self.folder / name / "model")

    def steps(self, name: str) -> list[int]:
        lines = (self.folder / name / "log.jsonl").read_text("utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry["step"] for entry in entries if "grad_norm" in entry]


def apart(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """How far apart two sets of weights are."""
    return sum(float((weight - others[name]).square().sum()) for name, weight in some.items())


def test_two_processes_learn_what_one_does_from_as_many_batches(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    said = runs.together("two", resume=True)
    alone = Recipe.of({**ONE, "accumulate": 2})
    train(alone, runs.data, picture_files(runs.images), tmp_path / "one", base=runs.base)
    fewer = Recipe.of(ONE)
    train(fewer, runs.data, picture_files(runs.images), tmp_path / "fewer", base=runs.base)
    moved = apart(runs.model("two"), weights(runs.base))
    # Sums in another order leave a trace; other batches leave much more.
    assert apart(runs.model("two"), runs.model("one")) < 1e-3 * moved
    assert apart(runs.model("two"), runs.model("fewer")) > 1e-1 * moved
    # One process tells and writes.
    assert said.count("SAID") == 1
    assert runs.steps("two") == [1, 2, 3, 4, 5, 6]
    kept = sorted(path.name for path in (tmp_path / "two" / "checkpoint-6").glob("rng_state*"))
    assert kept == ["rng_state_0.pth", "rng_state_1.pth"]


@pytest.mark.slow
def test_two_processes_go_on_where_they_were(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.together("two")
    straight = runs.model("two")
    for lost in ("checkpoint-6", "model"):
        shutil.rmtree(tmp_path / "two" / lost)
    runs.together("two", resume=True)
    assert runs.steps("two") == [1, 2, 3, 4, 5, 6, 6]
    moved = apart(straight, weights(runs.base))
    assert apart(runs.model("two"), straight) < 1e-6 * moved
