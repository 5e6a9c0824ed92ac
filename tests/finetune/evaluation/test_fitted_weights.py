"""Which fitted weights a home's recommendations and evaluations may use."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mllm_srec.agent.deployment import WEIGHTS, Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.data.settings import USUAL_SPLIT, SplitHow
from mllm_srec.finetune.data.splits import Split, split_home
from mllm_srec.finetune.evaluation.combine import CombineError
from mllm_srec.finetune.evaluation.evaluate import LeakError
from mllm_srec.finetune.evaluation.graph_ranking import (
    GraphRanker,
    combine_home,
    without_fitted,
)
from mllm_srec.finetune.evaluation.ranking import UNFITTED, RankingOptions, evaluate_home
from mllm_srec.store.home import Home
from mllm_srec.tools.ranking import CombineWeights
from tests.agent.shop import MODEL, deploy, scripted

FITTED = CombineWeights(model=7.0)


def fitted(home: Path, how: SplitHow = USUAL_SPLIT, **changes: Any) -> None:
    """Keep weights in a home as `srec finetune combine` does."""
    kept = {
        "weights": FITTED.model_dump(),
        "split": how._asdict(),
        "model_hash": scripted().info.model_hash,
    }
    with Home.open(home) as opened:
        opened.write_setting(WEIGHTS, kept | changes)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
    return tmp_path / "home"


def evaluate(home: Path, options: RankingOptions) -> None:
    evaluate_home(home, options, settings=Settings(), engine=scripted(), model=MODEL)


def test_a_log_of_single_likes_has_nothing_to_fit_weights_on(home: Path) -> None:
    with Deployment.open(home, engine=scripted(), model=MODEL) as deployment:
        whole = split_home(deployment.home, min_rating=4.0)
        ranker = GraphRanker(deployment, replace(whole, validation=()))
        with pytest.raises(CombineError, match="has a target for validation, the like before"):
            combine_home(ranker)
        assert deployment.home.read_setting(WEIGHTS) is None


def test_weights_that_saw_test_cases_are_refused(home: Path) -> None:
    fitted(home)
    with pytest.raises(LeakError, match="combine --split-by user --targets 2"):
        evaluate(home, RankingOptions(targets=2))
    fitted(home, SplitHow("user", 2))
    evaluate(home, RankingOptions(targets=2))
    with pytest.raises(LeakError, match="fitted on --split-by user --targets 2"):
        evaluate(home, RankingOptions())
    # Those of another model are not used, so what they know does not matter.
    fitted(home, SplitHow("user", 2), model_hash="another")
    evaluate(home, RankingOptions())


@pytest.mark.parametrize("seen", [True, False])
def test_a_case_that_weights_were_fitted_on_is_not_tested(home: Path, seen: bool) -> None:
    split = split_with(home)
    case = split.test[0]
    fitted(home, cases=[[case.user_id, case.target if seen else split.validation[0].target]])
    with Home.open(home) as opened:
        tested = without_fitted(opened, split, scripted().info.model_hash).test
        assert without_fitted(opened, split, "another") == split
    assert (case in tested) == (not seen)
    assert len(tested) == len(split.test) - seen
    report = evaluate_home(
        home, RankingOptions(), settings=Settings(), engine=scripted(), model=MODEL
    )
    assert report.users == len(tested)
    told = [note for note in report.notes if "`srec finetune combine` was fitted on them" in note]
    assert [note[:14] for note in told] == ["1 test cases a"] * seen


def test_a_report_says_that_no_weights_were_fitted(home: Path) -> None:
    def told(options: RankingOptions) -> bool:
        report = evaluate_home(home, options, settings=Settings(), engine=scripted(), model=MODEL)
        return UNFITTED in report.notes

    assert told(RankingOptions(rows=("full",)))
    assert not told(RankingOptions(rows=("popularity",)))
    fitted(home, model_hash="another")
    assert told(RankingOptions(rows=("full",)))
    fitted(home)
    assert not told(RankingOptions(rows=("full",)))


def split_with(home: Path) -> Split:
    with Home.open(home) as opened:
        return split_home(opened, min_rating=4.0)


def test_weights_of_another_model_are_not_used_and_that_is_said(home: Path) -> None:
    said: list[str] = []
    with Deployment.open(home, engine=scripted(), model=MODEL, say=said.append) as deployment:
        fitted(home)
        assert deployment.weights() == FITTED
        assert said == []
        fitted(home, model_hash="another")
        assert deployment.weights().model == CombineWeights().model
    [line] = said
    assert "another model's" in line
    assert "srec finetune combine" in line


def test_a_home_can_name_its_model(home: Path, tmp_path: Path) -> None:
    model = tmp_path / "my-model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (home / "srec.toml").write_text(f'model = "{model}"\n')
    with Deployment.open(home, engine=scripted()) as deployment:
        assert deployment.model == model
    with Deployment.open(home, engine=scripted(), model=MODEL) as deployment:
        assert deployment.model == MODEL
