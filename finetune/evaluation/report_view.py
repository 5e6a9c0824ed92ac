"""The report of `srec evaluate` for a person."""

from collections.abc import Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mllm_srec.finetune.evaluation.report import Report, Row

ACCURACY = ("recall@10", "mrr@10", "auc")
GROUPS = {"warm": "warm", "cold": "cold", "cold_items": "cold items"}
LISTS = {
    "coverage@10": "coverage",
    "novelty@10": "novelty",
    "diversity@10": "diversity",
    "popularity_lift@10": "pop. lift",
    "miscalibration@10": "miscal.",
}
COSTS = {
    "seconds_per_user": "s/user",
    "calls_per_user": "calls",
    "stored_per_user": "stored",
    "prompt_tokens_per_user": "tokens in",
    "completion_tokens_per_user": "out",
    "ece": "ECE",
}


def report_view(report: Report) -> Group:
    """Accuracy, who it is better for, the lists themselves, and costs, one table each.

    Each fits a terminal of 80 columns.
    """
    part = f"{report.part} part, {report.protocol} protocol, split by {report.split_by}"
    days = ", days shuffled" if report.day_order == "shuffled" else ""
    targets = f"{report.cases:,} targets, " if report.cases != report.users else ""
    head = f"{part}{days}: {report.users:,} users, {targets}{report.items:,} items{report.means}"
    tables = [_accuracy(report), *_apart(report)]
    for names, digits in ((LISTS, 2), (COSTS, 3)):
        if any(name in row.figures for row in report.rows for name in names):
            tables.append(_figures(report, names, digits))
    notes = [Text(note, "dim") for note in report.notes]
    return Group(Text(head, "bold"), *tables, *_chosen(report), *notes)


def _chosen(report: Report) -> list[Text]:
    """The baseline to beat, and whether it was."""
    row = next((row for row in report.rows if row.name == report.baseline), None)
    if row is None:
        return []
    line = f"best baseline on validation: {row.name}"
    if row.full_minus:
        line += f"; full minus it {_difference(row.full_minus)}, p = {row.full_minus['p']:.4f}"
    return [Text(line)]


def _accuracy(report: Report) -> Table:
    table = _table("", "NDCG@10 (95 %)", "R@10", "MRR@10", "AUC")
    for row in report.rows:
        figures = (f"{row.figures[name]:.3f}" for name in ACCURACY)
        table.add_row(Text(row.name), _interval(row), *figures)
    return table


def _apart(report: Report) -> list[Table]:
    """NDCG@10 of the groups that there are, and how much better the row `full` is."""
    groups = [name for name in GROUPS if any(name in row.groups for row in report.rows)]
    compared = any(row.full_minus for row in report.rows)
    if not groups and not compared:
        return []
    last = ["full minus it (95 %)"] if compared else []
    table = _table("NDCG@10", *(GROUPS[name] for name in groups), *last)
    for row in report.rows:
        cells = [_group(row, name) for name in groups]
        table.add_row(Text(row.name), *cells, *([_difference(row.full_minus)] if compared else []))
    return [table]


def _figures(report: Report, names: Mapping[str, str], digits: int) -> Table:
    table = _table("", *names.values())
    for row in report.rows:
        if any(name in row.figures for name in names):
            values = [row.figures.get(name) for name in names]
            table.add_row(
                Text(row.name), *("-" if v is None else f"{v:,.{digits}f}" for v in values)
            )
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _interval(row: Row) -> str:
    shown = row.figures
    text = f"{shown['ndcg@10']:.4f} ({shown['ndcg@10_low']:.3f}-{shown['ndcg@10_high']:.3f})"
    spread = row.spread.get("ndcg@10")
    return text if spread is None else f"{text} ±{spread:.4f}"


def _group(row: Row, name: str) -> str:
    return f"{row.groups[name]['ndcg@10']:.3f}" if name in row.groups else "-"


def _difference(gain: Mapping[str, float] | None) -> str:
    return f"{gain['ndcg@10']:+.4f} ({gain['low']:+.3f} {gain['high']:+.3f})" if gain else ""
