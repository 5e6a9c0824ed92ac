"""The ablation as a work folder: every variant with every seed is trained, then measured, once.

All training comes first: vLLM, once it is loaded, keeps torch from compiling in its process.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mllm_srec.agent.state import Settings
from mllm_srec.finetune.ablation.measure import Measured, copy_shop, measure
from mllm_srec.finetune.ablation.records import write_later_steps
from mllm_srec.finetune.ablation.variants import AblationError, Variant
from mllm_srec.finetune.data.entries import ABOUT
from mllm_srec.finetune.data.records import prompt_hashes
from mllm_srec.finetune.data.settings import USUAL_SPLIT
from mllm_srec.finetune.data.splits import require_cases, split_home
from mllm_srec.finetune.evaluation.graph_ranking import check_taught
from mllm_srec.finetune.output_folder import alone
from mllm_srec.finetune.training.meter import Show, unseen
from mllm_srec.finetune.training.model_folder import MODEL
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.train import train
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.model_files import model_hash
from mllm_srec.store.files import write_private
from mllm_srec.store.home import Home

SETTINGS = "ablation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationPlan:
    """What is trained from where, and on whom it is measured."""

    base: Path
    """Model folder that every run starts from: the shared checkpoint."""
    recipe: Recipe
    """Of every run; its seed and the tasks that a variant does not train are replaced."""
    variants: Sequence[Variant]
    seeds: int = 3
    """Every variant is trained with the seeds 1 to this."""
    users: int = 300
    """Test users that are ranked for, and as many of validation that weights are fitted on."""


@dataclass(frozen=True, slots=True)
class Run:
    """One variant with one seed, and where it lies."""

    variant: Variant
    seed: int
    out: Path

    @property
    def name(self) -> str:
        """`full-1`."""
        return f"{self.variant.name}-{self.seed}"

    @property
    def folder(self) -> Path:
        """Its records, its training and its home."""
        return self.out / "runs" / self.name

    @property
    def trained(self) -> Path:
        """The file that says that training is done, and what it was."""
        return self.folder / "trained.json"

    @property
    def result(self) -> Path:
        """The file of what was measured."""
        return self.out / "results" / f"{self.name}.json"


def ablate(
    home: Path,
    out: Path,
    plan: AblationPlan,
    *,
    open_engine: Callable[[Path], Engine],
    say: Callable[[str], None] = lambda line: None,
    show: Show = unseen,
) -> list[Measured]:
    """Train and measure every variant with every seed, as far as it is not done.

    Killed at any moment and called again it goes on: training from its last checkpoint, measuring
    from the answers that the model gave.

    Args:
        home: A home whose items are described; it is only read.
        out: The work folder; made when missing.
        plan: What to do.
        open_engine: Loads the trained model of a folder; closed after each run.
        say: Told which run begins.
        show: Shows where a training stands.

    Raises:
        AblationError: The recipe has two runs, or the folder was begun with another plan.
        FinetuneError: Another process works in the folder.
        LeakError: The base was taught what the variants would be measured on.
        SplitError: Nobody has likes enough to be measured on.
    """
    if plan.recipe.then is not None:
        raise AblationError("the recipe has a second run, 'then': a variant is trained in one")
    with alone(out), Home.open(home) as opened:
        _require_measurable(opened, plan)
        _require_same_plan(out, _describe(opened, plan))
        runs = [
            Run(variant, seed, out)
            for seed in range(1, plan.seeds + 1)
            for variant in plan.variants
        ]
        left = [run for run in runs if not run.result.exists()]
        for number, run in enumerate(left, 1):
            if not run.trained.exists():
                say(f"training {run.name}, {number} of {len(left)}")
                _train(run, opened, plan, show)
        for number, run in enumerate(left, 1):
            say(f"measuring {run.name}, {number} of {len(left)}")
            _measure(run, opened, plan, open_engine)
    return [Measured.model_validate_json(run.result.read_bytes()) for run in runs]


def _require_measurable(home: Home, plan: AblationPlan) -> None:
    """Refuse now what measuring would refuse after hours of training."""
    liked = Settings().liked_rating
    check_taught(plan.base, home, USUAL_SPLIT, min_rating=liked)
    require_cases(split_home(home, min_rating=liked), "test")


def _train(run: Run, home: Home, plan: AblationPlan, show: Show) -> None:
    data = run.folder / "data"
    if not (data / ABOUT).exists():
        write_later_steps(home, run.variant, data, seed=run.seed)
    shares: Mapping[str, float] = {
        task: share for task, share in plan.recipe.shares.items() if task in run.variant.tasks
    }
    recipe = replace(plan.recipe, seed=run.seed, shares=shares)
    # Of a process that was killed before it could say that the training is done.
    shutil.rmtree(run.folder / "train" / MODEL, ignore_errors=True)
    report = train(
        recipe,
        data,
        home.pictures.load,
        run.folder / "train",
        base=plan.base,
        resume=True,
        show=show,
    )
    about = {"steps": report.steps, "seconds": report.seconds}
    write_private(run.trained, json.dumps(about).encode())


def _measure(
    run: Run, home: Home, plan: AblationPlan, open_engine: Callable[[Path], Engine]
) -> None:
    """Measure a trained run, keep the result, and drop what only served to make it."""
    copy_shop(home, run.folder / "home")
    model = run.folder / "train" / MODEL
    with closing(open_engine(model)) as engine:
        measured = measure(
            run.folder / "home",
            model,
            run.variant,
            seed=run.seed,
            steps=json.loads(run.trained.read_bytes())["steps"],
            users=plan.users,
            engine=engine,
        )
    run.result.parent.mkdir(exist_ok=True)
    write_private(run.result, measured.model_dump_json().encode())
    checkpoints = (run.folder / "train").glob("checkpoint-*")
    for folder in (run.folder / "home", run.folder / "data", *checkpoints):
        shutil.rmtree(folder)


def _describe(home: Home, plan: AblationPlan) -> dict[str, Any]:
    """What a result depends on besides variant and seed, as plain values."""
    rows = home.catalogue.interactions_frame().hash_rows(seed=0)
    shop = hashlib.sha256(rows.to_numpy().tobytes())
    for entry in home.catalogue.representations().values():
        shop.update(f"{entry.item_id}\0{entry.key}\0{entry.fused.model_dump_json()}\0".encode())
    return {
        "base": model_hash(plan.base),
        "recipe": json.loads(json.dumps(asdict(replace(plan.recipe, seed=0)))),
        "users": plan.users,
        "shop": shop.hexdigest(),
        "prompts": prompt_hashes(),
    }


def _require_same_plan(out: Path, wanted: dict[str, Any]) -> None:
    """Keep what the folder is for; refuse another.

    Raises:
        AblationError: It was begun with something else, or its file is broken.
    """
    path = out / SETTINGS
    if not path.exists():
        write_private(path, json.dumps(wanted, indent=1).encode())
        return
    try:
        kept = json.loads(path.read_bytes())
    except ValueError as error:
        raise AblationError(f"{str(path)!r} is broken: start in another folder") from error
    if differ := [name for name in wanted if kept.get(name) != wanted[name]]:
        raise AblationError(
            f"{str(out)!r} was begun with other {', '.join(differ)}: give another folder, or "
            "what it was begun with"
        )
