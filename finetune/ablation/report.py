"""The table of the ablation, for a person and as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel
from rich.console import Group
from rich.table import Table
from rich.text import Text

from mllm_srec.finetune.ablation.figures import AUC, NDCG, Figure, Row, rows_of
from mllm_srec.finetune.ablation.measure import NEGATIVES, Measured
from mllm_srec.finetune.ablation.runs import AblationPlan
from mllm_srec.llm.trained import read_settings

READ = (
    "Every row starts from one checkpoint and trains only the later steps; all rank from the same "
    "descriptions. (95 %): other users of this shop. ±: standard deviation over training seeds."
)
SCORED_BEFORE = (
    "The base was trained for scoring before, or does not say that it was not: 'not fine-tuned for "
    "scoring' shows what the base knows, not what a model without that training would."
)


class AblationReport(BaseModel):
    """What `srec finetune ablate --json` prints."""

    base: str
    engine: str
    minutes: float | None
    """Training of one run at most; None where the recipe counts steps."""
    seeds: int
    users: int
    negatives: int = NEGATIVES
    """Unseen items that each target is told from, for the AUC."""
    rows: list[Row]
    notes: list[str]


def report_of(plan: AblationPlan, measured: Sequence[Measured]) -> AblationReport:
    """Put what was measured into a report."""
    return AblationReport(
        base=plan.base.name,
        engine=measured[0].engine,
        minutes=plan.recipe.minutes,
        seeds=plan.seeds,
        users=len(measured[0].users),
        rows=rows_of(measured),
        notes=[READ] if _never_scored(plan.base) else [READ, SCORED_BEFORE],
    )


def _never_scored(base: Path) -> bool:
    """Whether the settings of a run from nothing say that it was not trained for scoring."""
    recipe = read_settings(base).get("recipe", {})
    from_nothing = recipe.get("scratch") is not None
    return from_nothing and not recipe["shares"].get("score_target")


def ablation_view(report: AblationReport) -> Group:
    """One table, a row a variant."""
    head = (
        f"{report.users:,} test users, seeds {report.seeds}, base {report.base}, "
        f"engine {report.engine}"
    )
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("", no_wrap=True)
    names = ("AUC (95 %)", "NDCG@10 (95 %)")
    for column in (*names, *(f"full minus it, {name}" for name in ("AUC", "NDCG@10")), "retrieval"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(
            Text(row.about),
            *(_value(row.figures[name]) for name in (AUC, NDCG)),
            *(_difference(row.full_minus, name) for name in (AUC, NDCG)),
            f"{row.retrieval_ndcg:.3f}",
        )
    return Group(Text(head, "bold"), table, *(Text(note, "dim") for note in report.notes))


def _value(figure: Figure) -> str:
    return f"{figure.mean:.4f} ({figure.low:.3f}-{figure.high:.3f}){_spread(figure)}"


def _difference(figures: Mapping[str, Figure] | None, name: str) -> str:
    if figures is None:
        return ""
    figure = figures[name]
    return f"{figure.mean:+.4f} ({figure.low:+.3f} {figure.high:+.3f}){_spread(figure)}"


def _spread(figure: Figure) -> str:
    return "" if figure.spread is None else f" ±{figure.spread:.4f}"
