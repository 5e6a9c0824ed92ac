"""`python -m bench.quality.tables`: what `bench.quality` kept, as the tables of a page.

Every figure is read from the files; nothing is measured here. Where a set was asked with the row
`full`, it is compared with the baseline that validation chose, Holm over those sets.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quality.real_sets import SETS
from mllm_srec.finetune.evaluation.evaluate import FULL
from mllm_srec.finetune.evaluation.metrics import holm
from mllm_srec.finetune.evaluation.report import Report, Row

ACCURACY = ("recall@10", "ndcg@10", "recall@20", "ndcg@20", "mrr@10", "auc")
LISTS = ("coverage@10", "novelty@10", "popularity_lift@10")
GROUPS = ("warm", "cold", "warm_items", "cold_items")


@dataclass(frozen=True, slots=True)
class Kept:
    """One finished protocol of one set."""

    set: str
    protocol: str
    made: dict[str, Any]
    report: Report


def read(folder: Path) -> list[Kept]:
    """The finished protocols below the folder of `bench.quality`, set by set."""
    return [
        Kept(name, protocol.name, held["made"], Report.model_validate(held["report"]))
        for name, one in SETS.items()
        for protocol in one.protocols
        if (path := folder / name / f"{protocol.name}.json").exists()
        for held in [json.loads(path.read_text("utf-8"))]
    ]


def page(kept: Sequence[Kept]) -> Iterator[str]:
    """Yield the lines of all tables."""
    for one in kept:
        yield from _table(one)
    yield from _comparison(kept)


def _table(one: Kept) -> Iterator[str]:
    report = one.report
    yield f"### {one.set}, {one.protocol}"
    yield ""
    yield (
        f"{report.users:,} users, {report.cases:,} targets, {report.items:,} items{report.means}. "
        f"Best on validation: {report.baseline} "
        f"(NDCG@10 {report.validation[report.baseline]:.4f}). "
        if report.baseline
        else f"{report.users:,} users, {report.items:,} items{report.means}. "
    ) + f"`{one.made['command']}`, {one.made['date']}."
    yield ""
    spread = any(row.spread for row in report.rows)
    groups = [name for name in GROUPS if any(name in row.groups for row in report.rows)]
    lists = [name for name in LISTS if name in report.rows[0].figures]
    head = ["row", "R@10", "N@10 (95 %)", *(["± shuffles"] if spread else []), "R@20", "N@20"]
    head += ["MRR@10", "AUC", *(f"N@10 {name.replace('_', ' ')}" for name in groups)]
    head += [name.partition("@")[0].replace("_", " ") for name in lists]
    yield _line(head)
    yield _line(["---", *["---:"] * (len(head) - 1)])
    for row in report.rows:
        yield _line(_cells(row, groups, lists, spread=spread))
    yield ""
    for note in report.notes:
        yield f"- {note}"
    if report.notes:
        yield ""


def _cells(row: Row, groups: Sequence[str], lists: Sequence[str], *, spread: bool) -> Iterator[str]:
    figures = row.figures
    yield f"**{row.name}**" if row.name == FULL else row.name
    yield f"{figures['recall@10']:.4f}"
    yield f"{figures['ndcg@10']:.4f} ({figures['ndcg@10_low']:.4f}-{figures['ndcg@10_high']:.4f})"
    if spread:
        yield f"{row.spread['ndcg@10']:.4f}" if row.spread else "-"
    yield from (f"{figures[name]:.4f}" for name in ACCURACY[2:5])
    yield f"{figures['auc']:.3f}"
    for name in groups:
        part = row.groups.get(name)
        yield f"{part['ndcg@10']:.4f} ({part['users']:,.0f})" if part else "-"
    yield from (f"{figures[name]:.3f}" for name in lists)


def _comparison(kept: Sequence[Kept]) -> Iterator[str]:
    """Lines of `full` against the baseline of each set's first protocol that has it."""
    firsts: dict[str, tuple[Kept, dict[str, float]]] = {}
    for one in kept:
        row = next((row for row in one.report.rows if row.name == one.report.baseline), None)
        if row is not None and row.full_minus is not None:
            firsts.setdefault(one.set, (one, row.full_minus))
    if not firsts:
        return
    raised = holm([gain["p"] for _, gain in firsts.values()])
    yield "### full less the baseline chosen on validation, NDCG@10"
    yield ""
    missing = [name for name in SETS if name not in firsts]
    without = f"; `full` is not measured on {', '.join(missing)}" if missing else ""
    yield f"p is two-sided; p (Holm) is over the {len(firsts)} sets of this table{without}."
    yield ""
    yield _line(["set", "protocol", "baseline", "difference (95 %)", "p", "p (Holm)"])
    yield _line(["---", "---", "---", "---:", "---:", "---:"])
    for (one, gain), chance in zip(firsts.values(), raised, strict=True):
        difference = f"{gain['ndcg@10']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
        yield _line(
            [
                one.set,
                one.protocol,
                str(one.report.baseline),
                difference,
                f"{gain['p']:.4f}",
                f"{chance:.4f}",
            ]
        )
    yield ""


def _line(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality.tables", description=__doc__)
    parser.add_argument("folder", type=Path, help="the --out of bench.quality")
    kept = read(parser.parse_args().folder)
    if not kept:
        sys.stderr.write("nothing is finished there: run `python -m bench.quality --set ...`\n")
        return 1
    sys.stdout.write("\n".join(page(kept)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
