import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.nodes.score_targets import score_targets
from mllm_srec.agent.state import Part, Settings
from mllm_srec.finetune.cli import evaluate_app, finetune_app
from mllm_srec.finetune.data.splits import SplitError
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation import ranking
from mllm_srec.finetune.evaluation.baselines import fit_baselines
from mllm_srec.finetune.evaluation.charts import draw_comparison
from mllm_srec.finetune.evaluation.evaluate import draw_unseen
from mllm_srec.finetune.evaluation.graph_ranking import GraphRanker
from mllm_srec.finetune.evaluation.kept_rankings import sources
from mllm_srec.finetune.evaluation.pairs import draw_pairs
from mllm_srec.finetune.evaluation.ranking import RankingOptions, evaluate_home
from mllm_srec.finetune.evaluation.report import Report
from mllm_srec.finetune.evaluation.truth import FILES
from mllm_srec.llm.engine import EngineLost, LabelScores, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.exact_search import nearest_of
from mllm_srec.store.home import Home
from mllm_srec.store.records import Interaction, Item
from mllm_srec.tools.ranking import calibrated
from tests.agent.shop import MODEL, deploy, scripted

USERS = 2
"""Of the three users, ada has too little behind her for a case."""
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The shop of eight items, fused."""
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
    return tmp_path / "home"


def evaluated(
    home: Path,
    engine: ScriptedEngine,
    options: RankingOptions | None = None,
    progress: Callable[[str, int, int | None], None] = lambda stage, done, total: None,
) -> Report:
    return evaluate_home(
        home,
        options or RankingOptions(rows=("retrieval", "full")),
        settings=Settings(),
        engine=engine,
        model=MODEL,
        progress=progress,
    )


def test_the_graph_stands_beside_the_simple_baselines(home: Path, tmp_path: Path) -> None:
    report = evaluated(home, scripted(), RankingOptions())
    names = [row.name for row in report.rows]
    assert names[:2] == ["retrieval", "full"]
    assert {"popularity", "popularity-recent", "item-knn", "ease", "transitions"} < set(names)
    assert (report.users, report.engine, report.score_weight) == (USERS, "scripted", 0.5)
    full = report.rows[1].figures
    assert full["calls_per_user"] > 0
    assert full["prompt_tokens_per_user"] > full["completion_tokens_per_user"] > 0
    assert 0 <= full["ece"] <= 1
    assert 0 < full["diversity@10"] < 1
    draw_comparison(report, tmp_path / "rows.png")
    assert (tmp_path / "rows.png").read_bytes().startswith(PNG)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(home: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    rows = ("retrieval", "full")
    evaluated(home, scripted(), RankingOptions(rows=rows, users=1))
    engine = scripted()
    report = evaluated(home, engine, progress=lambda *step: told.append(step))
    assert told == [("rank", 1, 2), ("rank", 2, 2)]
    assert engine.scored
    again = scripted()
    assert evaluated(home, again) == report
    assert not again.scored
    assert not again.generated


def test_answers_given_before_the_engine_was_lost_are_not_asked_for_again(home: Path) -> None:
    class Losing(ScriptedEngine):
        def score_labels(self, prompts: list[Prompt], labels: object) -> list[LabelScores]:  # type: ignore[override]
            raise EngineLost("gone")

    kept = scripted()
    with pytest.raises(EngineLost):
        evaluated(home, Losing(answer=kept.answer, score=kept.score))
    engine = scripted()
    evaluated(home, engine)
    assert engine.scored
    assert not engine.generated


@pytest.mark.parametrize(("candidates", "seed", "ranked"), [(50, 1, 0), (4, 1, 2), (50, 2, 2)])
def test_other_settings_or_another_seed_rank_anew(
    home: Path, candidates: int, seed: int, ranked: int
) -> None:
    evaluated(home, scripted())
    told: list[tuple[str, int, int | None]] = []
    report = evaluate_home(
        home,
        RankingOptions(rows=("full",), seed=seed),
        settings=Settings(candidates=candidates),
        engine=scripted(),
        model=MODEL,
        progress=lambda *step: told.append(step),
    )
    assert [step for step in told if step[0] == "rank"][1:] == [
        ("rank", done, 2) for done in range(1, ranked + 1)
    ]
    # Where rankings are made again, the prompts are the same and were answered before.
    assert (report.rows[1].figures["stored_per_user"] > 0) == (ranked > 0)


@pytest.mark.parametrize(
    "decisive",
    [GraphRanker, draw_pairs, draw_unseen, nearest_of, calibrated, score_targets],
    ids=lambda each: each.__name__,
)
def test_a_kept_ranking_is_forgotten_with_the_code_that_decides_it(decisive: Any) -> None:
    assert Path(inspect.getfile(decisive)) in sources()


def test_another_version_of_the_engine_ranks_anew(home: Path) -> None:
    evaluated(home, scripted())
    newer = scripted()
    newer.info = replace(newer.info, version="next")
    told: list[str] = []
    evaluated(home, newer, progress=lambda stage, *_: told.append(stage))
    assert "rank" in told


ABLATIONS: dict[Part, tuple[str, str]] = {
    "profile": ("Profile of the user: nothing stable yet", "Profile of the user: loves"),
    "chain": ("- liked, 4 days before: rattle: red; wood", "Preference lately: strong"),
    "picture": ("Item: ball: rubber", "red"),
    "text": ("Item: ball: blue\n", "wood"),
}


@pytest.mark.parametrize("part", ABLATIONS)
def test_each_ablation_leaves_its_part_out_of_the_scoring_prompts(home: Path, part: Part) -> None:
    engine = scripted()
    options = RankingOptions(rows=("full",), without=(part,))
    report = evaluated(home, engine, options)
    assert [row.name for row in report.rows] == ["retrieval", "full", f"without {part}"]
    assert "nothing was trained again" in report.notes[0]
    there, gone = ABLATIONS[part]
    texts = [prompt.messages[1].text.partition("Profile of")[2] for prompt in engine.scored]
    texts = [f"Profile of{text}" for text in texts]
    assert any(there in text for text in texts)
    left_out = [text for text in texts if gone not in text]
    assert 0 < len(left_out) < len(texts)


def test_without_the_temporal_step_the_history_is_one_window(home: Path) -> None:
    engine = scripted()
    evaluate_home(
        home,
        RankingOptions(rows=("full",), without=("temporal",)),
        settings=Settings(window_size=2, window_step=2),
        engine=engine,
        model=MODEL,
    )
    asked = [prompt.messages[1].text for prompt in engine.generated]
    lengths = [text.count("\n- ") for text in asked if text.startswith("Update what")]
    # Mia has five interactions before her target, ben three.
    assert sorted(lengths) == [1, 1, 2, 2, 2, 3, 5]


def test_shuffled_days_are_the_mean_of_several_orders(home: Path) -> None:
    options = RankingOptions(rows=("popularity",), day_order="shuffled", shuffles=3)
    report = evaluated(home, scripted(), options)
    assert report.shuffles == 3
    assert report.rows[0].spread["ndcg@10"] == 0


def test_users_who_are_not_asked_in_every_order_of_the_days_are_counted(tmp_path: Path) -> None:
    # One day. Who likes all three can always be asked; the others not where the day begins with
    # something that they like.
    with Home.open(tmp_path / "home", create=True) as opened:
        opened.catalogue.put_items(Item(item_id=f"i{place}") for place in range(4))
        opened.catalogue.put_interactions(
            Interaction(
                user_id=f"u{number}",
                item_id=f"i{place}",
                position=place,
                rating=1.0 if place == 2 and number % 2 else 5.0,
                timestamp=0,
            )
            for number in range(12)
            for place in range(3)
        )
    options = RankingOptions(rows=("popularity",), day_order="shuffled", shuffles=2, users=8)
    report = evaluated(tmp_path / "home", scripted(), options)
    note, few = report.notes
    assert "no more than 1 other items" in few
    assert re.fullmatch(r"\d+ of the \d+ users are not asked in every order of the days: .*", note)
    options = RankingOptions(rows=("popularity",), users=5)
    assert evaluated(tmp_path / "home", scripted(), options).notes == [few]


def test_draws_of_negatives_ask_the_model_nothing_twice(home: Path) -> None:
    engine = scripted()
    report = evaluated(home, engine, RankingOptions(rows=("full",), protocol="sampled"))
    assert (report.draws, report.users, report.cases) == (3, USERS, USERS)
    assert set(report.rows[1].spread) > {"ndcg@10", "auc"}
    asked = [prompt.messages for prompt in engine.scored]
    assert len(asked) == len(set(asked)) > 0
    assert "± over draws of the 20" in report.notes[0]
    assert evaluated(home, scripted(), RankingOptions(rows=("full",))).draws == 1


def test_items_without_a_description_are_refused_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "fit_baselines", lambda *_, **__: pytest.fail("fitted"))
    with deploy(tmp_path / "bare", scripted()):
        pass
    with pytest.raises(FinetuneError, match="8 of 8 items have no description yet"):
        evaluated(tmp_path / "bare", scripted(), RankingOptions())


def test_without_a_graph_row_no_model_is_loaded(home: Path) -> None:
    options = RankingOptions(rows=("popularity",))
    report = evaluate_home(home, options, settings=Settings(), engine="nonsense")
    assert [row.name for row in report.rows] == ["popularity"]
    assert report.engine is None


def test_rows_fitted_elsewhere_are_scored_by_the_same_code(home: Path) -> None:
    options = RankingOptions(rows=("popularity",))
    report = evaluate_home(
        home,
        options,
        settings=Settings(),
        others=lambda split: {"peer": fit_baselines(split, min_rating=4)["popularity"]},
    )
    ours, peer = report.rows
    assert (ours.name, peer.name) == ("popularity", "peer")
    assert ours.figures == peer.figures


def test_the_baseline_to_beat_is_the_best_on_validation(home: Path) -> None:
    report = evaluated(home, scripted(), RankingOptions())
    assert set(report.validation) == {row.name for row in report.rows} - {"retrieval", "full"}
    assert report.validation[str(report.baseline)] == max(report.validation.values())
    beaten = next(row for row in report.rows if row.name == report.baseline)
    assert beaten.full_minus
    assert 0 < beaten.full_minus["p"] <= 1


def test_several_targets_of_a_user_are_one_user(home: Path) -> None:
    options = RankingOptions(rows=("popularity",), targets=2)
    report = evaluated(home, scripted(), options)
    assert (report.users, report.cases) == (2, 4)
    with pytest.raises(SplitError, match="split by user"):
        evaluated(home, scripted(), RankingOptions(targets=2, split_by="time"))


def test_a_report_says_how_it_was_made(home: Path) -> None:
    options = RankingOptions(
        rows=("popularity",), split_by="time", day_order="shuffled", shuffles=2, seed=3
    )
    report = evaluated(home, scripted(), options)
    assert (report.split_by, report.day_order, report.shuffles) == ("time", "shuffled", 2)
    assert (report.targets, report.min_rating, report.seed) == (1, 4.0, 3)


def test_an_unknown_row_is_named_with_those_that_there_are(home: Path) -> None:
    with pytest.raises(FinetuneError, match=r"no row 'sasrec': there are .*'ease'"):
        evaluated(home, scripted(), RankingOptions(rows=("sasrec",)))


def test_rows_and_truth_are_looked_at_before_anything_is_fitted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "fit_baselines", lambda *_, **__: pytest.fail("fitted"))
    other = tmp_path / "other"
    other.mkdir()
    for name in FILES:
        pl.DataFrame({"item_id": ["i1", "i2"], "price": [1.0, 2.0]}).write_parquet(other / name)
    for options, refusal in (
        (RankingOptions(rows=("ease", "sasrec")), "no row 'sasrec'"),
        (RankingOptions(rows=("ease",), truth=other), "6 of the 8 items .* such as 'i3'"),
        (RankingOptions(rows=("law",)), "row 'law' knows what is true .* `--truth`"),
        (RankingOptions(rows=("ease",), truth=tmp_path), "no 'items.parquet' in"),
    ):
        with pytest.raises(FinetuneError, match=refusal):
            evaluated(home, scripted(), options)


def test_a_log_without_a_case_is_refused_in_place_of_zeros(home: Path) -> None:
    for rows in (("popularity",), ("full",)):
        with pytest.raises(SplitError, match="the test part has no case"):
            evaluate_home(
                home,
                RankingOptions(rows=rows),
                settings=Settings(liked_rating=5.5),
                engine=scripted(),
                model=MODEL,
            )


def test_figures_of_the_validation_part_say_that_it_was_fitted_on(home: Path) -> None:
    asked = RankingOptions(rows=("popularity",), part="validation")
    assert "were chosen on these cases" in evaluated(home, scripted(), asked).notes[0]


def test_a_picture_that_cannot_be_drawn_is_refused_first(home: Path, tmp_path: Path) -> None:
    for app, command in ((evaluate_app, []), (finetune_app, ["evaluate"])):
        asked = [*command, "--home", str(home), "--png", str(tmp_path / "nowhere" / "rows.png")]
        refused = CliRunner().invoke(app, asked).exception
        assert isinstance(refused, FinetuneError)
        assert "there is no" in str(refused)


def test_what_is_no_part_of_the_chain_is_wrong_use() -> None:
    result = CliRunner().invoke(evaluate_app, ["--without", "price"])
    assert result.exit_code == 2
    said = " ".join(result.output.replace("│", " ").split())
    assert "say picture or text or temporal or profile or chain" in said


@pytest.mark.parametrize("rating", ["nan", "inf", "-inf"])
def test_a_rating_that_is_no_number_is_wrong_use(home: Path, rating: str) -> None:
    asked = ["--home", str(home), "--rows", "popularity", "--min-rating", rating]
    result = CliRunner().invoke(evaluate_app, asked)
    assert result.exit_code == 2
    said = " ".join(result.output.replace("│", " ").split())
    assert "'--min-rating'" in said
    assert f"{rating} is no number to compare with: give a finite one" in said
