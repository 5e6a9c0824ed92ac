import io
from pathlib import Path

from rich.console import Console

from mllm_srec.agent.terminal.output import PlainProgress
from mllm_srec.finetune.evaluation.charts import draw_comparison, draw_reliability
from mllm_srec.finetune.evaluation.metrics import Bin
from mllm_srec.finetune.evaluation.report import Report, Row
from mllm_srec.finetune.evaluation.report_view import report_view

PNG = b"\x89PNG\r\n\x1a\n"


def row(name: str, value: float, **more: object) -> Row:
    figures = {f"{measure}@10": value for measure in ("recall", "ndcg", "mrr")}
    bounds = {
        f"{measure}_{side}": value + step
        for measure in ("recall@10", "ndcg@10")
        for side, step in (("low", -0.01), ("high", 0.01))
    }
    return Row.model_validate({"name": name, "auc": 0.5, **figures, **bounds, **more})


REPORT = Report(
    protocol="full",
    part="test",
    users=1_200,
    cases=1_200,
    items=800,
    day_order="shuffled",
    shuffles=5,
    rows=[
        row("retrieval", 0.1, full_minus={"ndcg@10": 0.05, "low": 0.01, "high": 0.09, "p": 0.02}),
        row("full", 0.15, seconds_per_user=1.25, ece=0.02, spread={"ndcg@10": 0.003}),
        row("popularity", 0.02, **{"coverage@10": 0.01, "groups": {"cold": {"ndcg@10": 0.04}}}),
    ],
    validation={"retrieval": 0.11, "popularity": 0.03},
    baseline="retrieval",
    notes=["nothing was trained again"],
)


def shown(report: Report, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO(), no_color=True)
    console.print(report_view(report))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_person_sees_figures_with_their_intervals_and_what_to_know() -> None:
    text = shown(REPORT)
    head = "test part, full protocol, split by user, days shuffled: 1,200 users, 800 items, mean of"
    assert f"{head} 5 shuffles" in text
    assert "0.1500 (0.140-0.160) ±0.0030" in text
    assert "+0.0500 (+0.010 +0.090)" in text
    assert "nothing was trained again" in text
    assert "best baseline on validation: retrieval; full minus it +0.0500" in text
    assert "p = 0.0200" in text
    costs = [line for line in text.splitlines() if "1.250" in line]
    assert len(costs) == 1
    assert costs[0].split()[0] == "full"


def test_no_figure_is_cut_in_a_terminal_of_80_columns() -> None:
    parts = {name: {"ndcg@10": 0.04} for name in ("warm", "cold", "warm_items", "cold_items")}
    gain = {"ndcg@10": -0.05, "low": -0.09, "high": -0.01, "p": 0.02}
    costs = {"calls": 52.4, "stored": 50.2, "prompt_tokens": 17_778.0, "completion_tokens": 312.4}
    longest = row(
        "popularity-recent",
        0.02,
        groups=parts,
        spread={"ndcg@10": 0.003},
        full_minus=gain,
        **{f"{name}_per_user": value for name, value in ({"seconds": 10.718} | costs).items()},
        **{f"{name}@10": 0.5 for name in ("coverage", "novelty", "diversity", "popularity_lift")},
    )
    report = REPORT.model_copy(update={"rows": [*REPORT.rows, longest]})
    assert "…" not in shown(report, width=80)
    assert "-0.0500 (-0.090 -0.010)" in shown(report, width=80)


def test_draws_of_negatives_are_named() -> None:
    sampled = REPORT.model_copy(update={"protocol": "sampled", "shuffles": 1, "draws": 3})
    assert "800 items, mean of 3 draws of negatives" in shown(sampled)
    assert sampled.model_copy(update={"shuffles": 5}).means.endswith(
        "5 shuffles and 3 draws of negatives"
    )


def test_what_was_not_measured_is_a_dash_or_left_out() -> None:
    rows = [row("ease", 0.1)]
    bare = Report(protocol="sampled", part="test", users=1, cases=1, items=1, rows=rows)
    text = shown(bare)
    assert "coverage" not in text
    assert "s/user" not in text
    assert "cold" not in text
    cold = [line.split() for line in shown(REPORT).splitlines() if "0.040" in line or "+" in line]
    assert ["popularity", "0.040"] in cold
    assert ["retrieval", "-", "+0.0500", "(+0.010", "+0.090)"] in cold


def test_pictures_are_drawn_without_a_screen(tmp_path: Path) -> None:
    draw_comparison(REPORT, tmp_path / "rows.png")
    draw_reliability([Bin(0.1, 0.2, 30.0), Bin(0.8, 0.7, 10.0)], 0.1, tmp_path / "bins.png")
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(PNG)


def test_an_interval_that_misses_its_mean_by_a_rounding_is_drawn(tmp_path: Path) -> None:
    rounded = row("ease", 0.63, **{"ndcg@10_low": 0.63 + 1e-15, "recall@10_high": 0.63 - 1e-15})
    draw_comparison(REPORT.model_copy(update={"rows": [rounded]}), tmp_path / "rows.png")
    assert (tmp_path / "rows.png").exists()


def test_progress_counts_users_and_names_the_ablation() -> None:
    lines: list[str] = []
    now = iter([0.0, 10.0])
    progress = PlainProgress(lines.append, clock=lambda: next(now))
    progress("rank without picture", 20, 100)
    progress("rank without picture", 60, 100)
    assert lines == [
        "ranking for users without picture: 20 of 100",
        "ranking for users without picture: 60 of 100, 4.0 users/s, 10 s left",
    ]
