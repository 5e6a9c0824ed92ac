"""A model is not asked what it was taught: what it learned from goes with it and is compared."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllm_srec.agent.deployment import Deployment
from mllm_srec.finetune.data.learned import LEARNED, Learned, learned_by
from mllm_srec.finetune.data.settings import DataSettings, SplitHow
from mllm_srec.finetune.data.write import write_data
from mllm_srec.finetune.evaluation.evaluate import LeakError
from mllm_srec.finetune.evaluation.graph_ranking import check_learned
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.run_settings import describe_run, write_settings
from mllm_srec.llm.engine import ModelError
from mllm_srec.store.records import Interaction
from tests.agent.shop import MODEL, deploy, scripted

USUAL = SplitHow("user", 2)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A home whose model was taught from its log, two targets a user held out."""
    with deploy(tmp_path / "home", scripted()) as opened:
        data, model = tmp_path / "data", tmp_path / "model"
        write_data(opened.home, None, data, DataSettings(split=USUAL, messages=0))
        model.mkdir()
        write_settings(model, describe_run(Recipe(minutes=1), data, MODEL))
        opened.model = model
        yield opened


@pytest.mark.parametrize("how", [USUAL, SplitHow("user", 1)])
def test_what_was_held_out_may_be_asked(deployment: Deployment, how: SplitHow) -> None:
    check_learned(deployment, how)


@pytest.mark.parametrize("how", [SplitHow("user", 3), SplitHow("time", 1)])
def test_another_split_of_the_same_log_is_refused(deployment: Deployment, how: SplitHow) -> None:
    with pytest.raises(LeakError, match="'model' was fine-tuned on this log"):
        check_learned(deployment, how)


def test_another_order_inside_the_days_is_refused(deployment: Deployment) -> None:
    with pytest.raises(LeakError, match="the order inside days as it stands"):
        check_learned(deployment, USUAL, day_order="shuffled")


def test_what_the_base_was_taught_counts(deployment: Deployment) -> None:
    settings = json.loads((deployment.model / "settings.json").read_text("utf-8"))
    after = {LEARNED: None, "base_settings": {LEARNED: None, "base_settings": settings}}
    write_settings(deployment.model, after)
    with pytest.raises(LeakError, match="fine-tuned on this log"):
        check_learned(deployment, SplitHow("time", 1))


def test_another_log_is_no_leak(deployment: Deployment) -> None:
    further = Interaction(user_id="u1", item_id="i1", position=9_999)
    deployment.home.catalogue.put_interactions([further])
    check_learned(deployment, SplitHow("time", 1))


def test_a_model_of_another_maker_says_nothing(deployment: Deployment) -> None:
    deployment.model = MODEL
    check_learned(deployment, SplitHow("time", 1), day_order="shuffled")
    assert list(learned_by({"base_settings": "none"})) == []


def test_a_broken_entry_is_named_and_not_passed_over() -> None:
    with pytest.raises(ModelError, match=r"'learned': \{'log': 1\}"):
        list(learned_by({LEARNED: {"log": 1}}))


def test_the_order_of_rows_is_no_other_log(deployment: Deployment) -> None:
    first = Learned.of(deployment.home, USUAL, 4.0)
    assert first == Learned.of(deployment.home, USUAL, 4.0)
    assert first != Learned.of(deployment.home, SplitHow("time", 1), 4.0)
