"""The ablation from records to table, on the shop of eight items and a random small model."""

import io
import json
import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from mllm_srec.agent.deployment import WEIGHTS
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.ablation.measure import Measured
from mllm_srec.finetune.ablation.records import later_steps
from mllm_srec.finetune.ablation.report import SCORED_BEFORE, ablation_view, report_of
from mllm_srec.finetune.ablation.runs import AblationPlan, ablate
from mllm_srec.finetune.ablation.variants import VARIANTS, AblationError, chosen_variants
from mllm_srec.finetune.cli import finetune_app
from mllm_srec.finetune.data.learned import LEARNED, Learned
from mllm_srec.finetune.data.records import RecordGroup
from mllm_srec.finetune.data.settings import DataSettings, SplitHow
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.evaluate import LeakError
from mllm_srec.finetune.training.meter import Show, Standing, unseen
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.run_settings import write_settings
from mllm_srec.finetune.training.tiny import write_scratch
from mllm_srec.llm.engine import Answer, EngineLost, LabelScores, Prompt, Usage
from mllm_srec.llm.transformers_engine import TransformersEngine
from mllm_srec.store.home import Home
from mllm_srec.store.records import DAY_S, Interaction
from tests.agent.shop import ITEMS, answer, deploy, scripted
from tests.finetune.small import SMALL

USERS = 8
STEPS = 3
TOML = f"""
steps = {STEPS}
tokens_per_batch = 1024
bf16 = false
# A checkpoint after every step.
checkpoint_minutes = 1e-9
log_steps = 1

[shares]
summarize_preferences = 1.0
profile_user = 1.0
score_target = 2.0
"""
RECIPE = Recipe.of(tomllib.loads(TOML))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight users who like five of the items each, described."""
    path = tmp_path_factory.mktemp("ablation") / "home"
    rng = np.random.default_rng(0)
    with deploy(path, scripted()) as deployment:
        deployment.home.catalogue.put_interactions(
            Interaction(
                user_id=f"u{user}",
                item_id=str(item_id),
                position=position,
                rating=5,
                timestamp=1_700_000_000 + position * DAY_S,
            )
            for user in range(USERS)
            for position, item_id in enumerate(rng.permutation(list(ITEMS))[:5])
        )
        fuse_missing(deployment)
    return path


@pytest.fixture(scope="module")
def base(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose tokenizer knows the words of the records."""
    folder = tmp_path_factory.mktemp("base") / "small"
    texts: list[str] = []
    with Home.open(home) as opened:
        for _, record in later_steps(opened, VARIANTS["full"], DataSettings()):
            turns = record.prompt if isinstance(record, RecordGroup) else record.messages
            texts += [turn.text for turn in turns]
    write_scratch(folder, texts * 4, SMALL)
    return folder


class Judge(TransformersEngine):
    """Scores by the trained model; texts come by rule, since a random model writes none."""

    def generate(self, prompts: Sequence[Prompt], **_: object) -> list[Answer]:
        return [Answer(answer(prompt), Usage(1, 1), True) for prompt in prompts]


class Losing(Judge):
    """Is lost after some scores."""

    left = 3

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        self.left -= 1
        if self.left < 0:
            raise EngineLost("gone")
        return super().score_labels(prompts, labels)


class Ablations:
    """One plan, in work folders by name."""

    def __init__(self, home: Path, base: Path, folder: Path, *names: str) -> None:
        self.home, self.folder = home, folder
        self.plan = AblationPlan(
            base=base, recipe=RECIPE, variants=chosen_variants(names), seeds=1, users=USERS
        )
        self.said: list[str] = []

    def __call__(
        self,
        name: str = "out",
        *,
        show: Show = unseen,
        engine: Callable[[Path], TransformersEngine] = Judge,
    ) -> list[Measured]:
        self.said.clear()
        out = self.folder / name
        return ablate(
            self.home, out, self.plan, open_engine=engine, say=self.said.append, show=show
        )


def stopped(standing: Standing) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def straight(home: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Ablations:
    """Two variants with one seed, done without a stop in the folder `out`."""
    folder = tmp_path_factory.mktemp("straight")
    ablations = Ablations(home, base, folder, "scoring-picture", "full")
    ablations()
    return ablations


def steps_logged(out: Path) -> list[int]:
    """The steps of the run `full-1` whose losses were logged."""
    lines = (out / "runs" / "full-1" / "train" / "log.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [one["step"] for one in found if any(key.startswith("loss_") for key in one)]


@pytest.fixture
def full(home: Path, base: Path, tmp_path: Path) -> Ablations:
    return Ablations(home, base, tmp_path, "full")


def test_all_stand_in_one_table(straight: Ablations) -> None:
    measured = straight()
    assert straight.said == []
    report = report_of(straight.plan, measured)
    assert [row.name for row in report.rows] == ["scoring-picture", "full"]
    assert len({tuple(one.users) for one in measured}) == 1
    assert report.users == USERS
    assert {one.steps for one in measured} == {STEPS}
    # Each was asked and trained in another way.
    assert len({tuple(one.target_logits) for one in measured}) == 2
    for row in report.rows:
        auc = row.figures["auc"]
        assert 0 <= auc.low <= auc.mean <= auc.high <= 1
        assert row.figures["ndcg@10"].spread is None
        assert (row.full_minus is None) == (row.name == "full")
    assert SCORED_BEFORE in report.notes
    console = Console(width=200, no_color=True, record=True, file=io.StringIO())
    console.print(ablation_view(report))
    shown = console.export_text()
    assert all(row.about in shown for row in report.rows)


def test_the_command_writes_the_table_and_as_json(
    straight: Ablations, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(TOML)
    options = {
        "--base": straight.plan.base,
        "--out": straight.folder / "out",
        "--home": straight.home,
        "--recipe": tmp_path / "small.toml",
        "--only": "full,scoring-picture",
        "--seeds": 1,
        "--users": USERS,
    }
    asked = ["ablate", *(str(word) for pair in options.items() for word in pair)]
    shown = CliRunner().invoke(finetune_app, asked, env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "with the target's picture in the scoring prompt" in shown.output
    assert CliRunner().invoke(finetune_app, [*asked, "--json"]).exit_code == 0
    found = json.loads(capfd.readouterr().out)
    assert found == json.loads(report_of(straight.plan, straight()).model_dump_json())
    assert [row["name"] for row in found["rows"]] == ["scoring-picture", "full"]
    assert set(found["rows"][0]["figures"]["ndcg@10"]) >= {"mean", "low", "high", "spread"}


def test_a_server_cannot_measure_model_after_model() -> None:
    asked = ["ablate", "--base", "b", "--out", "o", "--engine", "vllm-server"]
    refused = CliRunner().invoke(finetune_app, asked)
    assert refused.exit_code == 2
    assert "'vllm-server' is not one of 'auto', 'vllm', 'transformers'." in " ".join(
        refused.output.split()
    )


def test_what_only_served_to_measure_is_dropped(straight: Ablations) -> None:
    kept = straight.folder / "out" / "runs" / "full-1"
    assert {path.name for path in kept.iterdir()} == {"train", "trained.json"}
    assert (kept / "train" / "model" / "model.safetensors").exists()
    assert not list((kept / "train").glob("checkpoint-*"))
    with Home.open(straight.home) as home:
        assert home.read_setting(WEIGHTS) is None
        for item in home.catalogue.items().values():
            assert item.picture is not None
            assert item.picture in home.pictures


def test_more_seeds_may_follow(straight: Ablations, full: Ablations) -> None:
    shutil.copytree(straight.folder / "out", full.folder / "out")
    full.plan = replace(full.plan, seeds=2)
    first, second = full()
    assert full.said == ["training full-2, 1 of 1", "measuring full-2, 1 of 1"]
    assert first == straight()[-1]
    assert second.users == first.users
    assert second.target_logits != first.target_logits


def test_a_killed_ablation_ends_as_a_straight_one(straight: Ablations, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(straight.folder / "out", out)
    shutil.rmtree(out / "runs" / "full-1")
    (out / "results" / "full-1.json").unlink()
    resumed = Ablations(straight.home, straight.plan.base, tmp_path, "scoring-picture", "full")

    def killed(standing: Standing) -> None:
        if standing.step == STEPS - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resumed(show=killed)
    first = steps_logged(out)
    with pytest.raises(EngineLost):
        resumed(engine=Losing)
    # It went on from the checkpoint: no step was taken twice.
    assert (first, steps_logged(out)) == ([1], [1, 2, 3])
    assert resumed.said == ["training full-1, 1 of 1", "measuring full-1, 1 of 1"]
    again, (pictured, whole) = resumed(), straight()
    assert resumed.said == ["measuring full-1, 1 of 1"]
    assert again[0] == pictured
    assert (again[1].users, again[1].ndcg) == (whole.users, whole.ndcg)
    # A logit moves in its last digits with the prompts that share its batch.
    assert again[1].target_logits == pytest.approx(whole.target_logits, abs=1e-4)
    others = [np.concatenate(one.other_logits).tolist() for one in (again[1], whole)]
    assert others[0] == pytest.approx(others[1], abs=1e-4)


def test_a_folder_of_another_plan_is_refused(full: Ablations) -> None:
    with pytest.raises(KeyboardInterrupt):
        full(show=stopped)
    full.plan = replace(full.plan, users=5, recipe=replace(RECIPE, steps=1))
    with pytest.raises(AblationError, match="begun with other recipe, users: give another folder"):
        full()


def test_one_process_works_in_a_folder(full: Ablations) -> None:
    def again(standing: Standing) -> None:
        full()

    with pytest.raises(FinetuneError, match="another process works in"):
        full(show=again)


def test_an_unknown_variant_is_named_with_those_that_there_are() -> None:
    with pytest.raises(AblationError, match=r"no variant 'no-cats': there are \['not-tuned',"):
        chosen_variants(("full", "no-cats"))


def test_a_base_that_was_taught_the_test_cases_is_refused_before_any_training(
    full: Ablations, tmp_path: Path
) -> None:
    taught = shutil.copytree(full.plan.base, tmp_path / "taught")
    with Home.open(full.home) as opened:
        learned = Learned.of(opened, SplitHow("time", 1), Settings().liked_rating)
    write_settings(taught, {LEARNED: learned.model_dump()})
    full.plan = replace(full.plan, base=taught)
    with pytest.raises(LeakError, match="'taught' was fine-tuned on this log"):
        full()
    assert full.said == []


def test_without_descriptions_there_is_nothing_to_train(base: Path, tmp_path: Path) -> None:
    with deploy(tmp_path / "home", scripted()):
        pass
    with pytest.raises(AblationError, match=r"no records of \['profile_user', .*run `srec ingest`"):
        Ablations(tmp_path / "home", base, tmp_path, "full")()
