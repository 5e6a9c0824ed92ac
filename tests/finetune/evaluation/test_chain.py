from pathlib import Path
from typing import Any

import pytest

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.recommender import Recommender
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation import reasons
from mllm_srec.finetune.evaluation.chain import ChainOptions, ChainReport, evaluate_chain
from mllm_srec.finetune.evaluation.charts import draw_reliability, require_drawable
from mllm_srec.finetune.evaluation.scoring import FIGURES
from mllm_srec.finetune.evaluation.taste import agreement
from mllm_srec.finetune.evaluation.truth import unseen_items
from mllm_srec.finetune.shop.make import make_shop
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from mllm_srec.store.intake import load_shop
from mllm_srec.store.records import Interaction, Item
from tests.agent.shop import LOG, MODEL, deploy


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    make_shop(3, 72, 24, folder)
    with Home.open(folder / "home", create=True) as home:
        load_shop(
            home,
            items=folder / "items.parquet",
            interactions=folder / "interactions.parquet",
            images=folder,
            now=1_900_000_000.0,
        )
    return folder


@pytest.fixture(scope="module")
def told() -> list[tuple[str, int, int | None]]:
    """What was told of the progress."""
    return []


@pytest.fixture(scope="module")
def report(shop: Path, told: list[tuple[str, int, int | None]]) -> ChainReport:
    """Of a model that never answers as asked, so that plain forms stand in everywhere."""
    engine = ScriptedEngine(answer=lambda prompt: "no")
    with Deployment.open(shop / "home", engine=engine, model=MODEL) as deployment:
        fuse_missing(deployment)
        options = ChainOptions(truth=shop / "truth", pairs=200)
        return evaluate_chain(Recommender(deployment), options, lambda *each: told.append(each))


@pytest.fixture(scope="module")
def figures(report: ChainReport) -> dict[str, Any]:
    return report.figures


def test_a_model_without_answers_is_told_apart_from_one_that_is_wrong(
    figures: dict[str, Any],
) -> None:
    assert figures["answers"] == figures["invalid_answers"] == figures["asked_again"] > 0
    assert figures["fallbacks"] == figures["asked_again"]
    assert figures["repaired"] == 0
    free = figures["without_schema"]
    assert 0 < free["answers"] == free["fallbacks"] <= figures["answers"]


def test_even_scores_are_at_chance_and_below_who_knows_the_truth(figures: dict[str, Any]) -> None:
    scoring = figures["scoring"]
    assert scoring["auc"] == 0.5
    assert scoring["share_of_observer"] == 0 or scoring["observer_auc"] <= 0.5
    assert scoring["law_auc"] is not None
    assert scoring["groups"]["warm_users"]["auc"] == 0.5
    assert {"ece", "log_loss", "pairs"} <= set(scoring)


def test_every_kind_of_item_and_both_halves_are_measured(
    figures: dict[str, Any], shop: Path
) -> None:
    fusion = figures["fusion"]
    assert set(fusion["groups"]) == {
        "agreeing",
        "contradicting",
        "picture_less",
        "noisy",
        "bare_text",
    }
    # Plain forms of pictures that nobody read name nothing that they show.
    assert fusion["picture_alone"]["colour"] in (0, None)
    assert fusion["text_alone"]["pattern"] == 0 < fusion["chance"]["pattern"]
    assert fusion["hallucination_rate"] == 0
    assert len(unseen_items(shop / "truth")) > 5


def test_counted_forms_name_what_a_careful_count_of_the_same_items_names(
    figures: dict[str, Any],
) -> None:
    # The items themselves are described badly, so recall falls; what is said is still so.
    assert figures["preference"]["precision"] > 0.5 > figures["preference"]["recall"]
    assert figures["profile"]["evidence_supported"] == 1


def test_the_reliability_is_that_of_the_error_that_is_told(
    report: ChainReport, tmp_path: Path
) -> None:
    bins = report.reliability
    error = sum(one.weight * abs(one.claimed - one.found) for one in bins)
    error /= sum(one.weight for one in bins)
    assert error == pytest.approx(report.figures["scoring"]["ece"])
    assert error == report.figures["scoring"]["groups"]["warm_users"]["ece"]
    draw_reliability(bins, error, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_reasons_of_some_warm_users_are_counted(figures: dict[str, Any]) -> None:
    users = min(reasons.USERS, figures["users"])
    assert figures["reasons"] == figures["reason_fallbacks"] == users * reasons.ITEMS > 0


def test_a_home_of_cold_users_alone_has_figures_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(LOG, "mia")
    with deploy(tmp_path / "home", ScriptedEngine(answer=lambda prompt: "no")) as deployment:
        fuse_missing(deployment)
        report = evaluate_chain(Recommender(deployment), ChainOptions(pairs=10))
    scoring = report.figures["scoring"]
    assert report.figures["users"] == scoring["pairs"] == 0
    assert {scoring[name] for name in FIGURES} == {None}
    assert scoring["groups"]["cold_users"]["auc"] == 0.5
    assert not report.reliability
    assert "warm users was not measured" in report.figures["notes"][0]


def test_a_catalogue_that_everybody_has_met_has_no_calibration_error_and_says_why(
    tmp_path: Path,
) -> None:
    path, engine = tmp_path / "home", ScriptedEngine(answer=lambda prompt: "no")
    with Home.open(path, create=True) as home:
        home.catalogue.put_items(Item(item_id=f"i{n}", title=f"red ball {n}") for n in range(6))
        home.catalogue.put_interactions(
            Interaction(user_id=user, item_id=f"i{n}", position=n)
            for user in "uv"
            for n in range(6)
        )
    with Deployment.open(path, engine=engine, model=MODEL) as deployment:
        fuse_missing(deployment)
        report = evaluate_chain(Recommender(deployment), ChainOptions(pairs=10))
    scoring = report.figures["scoring"]
    assert (report.figures["users"], scoring["pairs"]) == (2, 2)
    assert {scoring[name] for name in FIGURES} == {None}
    assert not report.reliability
    [note] = report.figures["notes"]
    assert note.startswith("scoring rests on 2 pairs, 0 of them not picked, in place of 10")


def test_a_home_with_enough_of_all_has_nothing_to_say(figures: dict[str, Any]) -> None:
    assert figures["notes"] == []


def test_every_stage_says_how_far_it_is(
    figures: dict[str, Any], told: list[tuple[str, int, int | None]]
) -> None:
    last = {stage: (done, total) for stage, done, total in told}
    assert all(done == total for done, total in last.values())
    assert set(last) == {
        "rank",
        "rank without schema",
        "rank without picture",
        "fuse",
        "fuse without schema",
        "score",
        "score without picture",
        "explain",
        "understand held out",
    }


def test_wrong_paths_are_found_before_anything_is_asked(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "torn.jsonl").write_text('{"before": ')
    another = tmp_path / "another"
    make_shop(4, 72, 24, another, pictures=False)
    engine = ScriptedEngine(answer=lambda prompt: pytest.fail("the model was asked"))
    with Deployment.open(shop / "home", engine=engine, model=MODEL) as deployment:
        for options, refusal in (
            (ChainOptions(truth=tmp_path / "typo"), r"no '.*typo': give the folder .* labels"),
            (ChainOptions(truth=tmp_path), r"no 'items\.parquet' in '.*'"),
            (ChainOptions(truth=another / "truth"), "72 items .* another price .* another shop"),
            (ChainOptions(truth=shop / "labels.parquet", users=9), "leave --users and --messages"),
            (ChainOptions(messages=tmp_path / "typo"), "cannot be read"),
            (ChainOptions(messages=tmp_path / "empty.jsonl"), "no messages in"),
            (ChainOptions(messages=tmp_path / "torn.jsonl"), r"torn\.jsonl', line 1"),
        ):
            with pytest.raises(FinetuneError, match=refusal):
                evaluate_chain(Recommender(deployment), options)


def test_a_picture_needs_a_folder_to_lie_in(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "rows.png"):
        with pytest.raises(FinetuneError, match="no picture can be drawn to"):
            require_drawable(path)
    require_drawable(tmp_path / "rows.png")


def test_without_the_truth_only_what_needs_none_is_measured(shop: Path) -> None:
    engine = ScriptedEngine(answer=lambda prompt: "no")
    with Deployment.open(shop / "home", engine=engine, model=MODEL) as deployment:
        fuse_missing(deployment)
        options = ChainOptions(users=3, pairs=20)
        figures = evaluate_chain(Recommender(deployment), options).figures
    assert set(figures["fusion"].values()) == {None}
    assert figures["scoring"]["observer_auc"] is None
    assert figures["scoring"]["auc"] == 0.5


def test_agreement_agrees_with_values_worked_out_by_hand() -> None:
    found = agreement([({"red", "blue"}, {"red"}), (set(), {"kite"})])
    assert found == {"precision": 0.5, "recall": 0.5, "attribute_f1": 0.5}
    assert set(agreement([]).values()) == {None}
