"""`python -m bench.quality`: all baselines side by side, fitted apart, scored by the same code.

One command makes the tables of one data set, protocol by protocol. What is finished is kept, and
not made again until its file is deleted: an interrupted run goes on from there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from bench.machine import made_on
from bench.quality.fits import PEERS, Fits
from bench.quality.plans import Choices, Plan, make_plans
from bench.quality.real_sets import SETS, Files, Protocol, RealSet, files_of, take_in
from bench.whole import make_whole
from mllm_srec.agent.demo import sample_shop
from mllm_srec.agent.ingest import ingest
from mllm_srec.agent.state import Settings
from mllm_srec.agent.terminal.output import PlainProgress
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.charts import draw_comparison
from mllm_srec.finetune.evaluation.evaluate import FULL, RETRIEVAL
from mllm_srec.finetune.evaluation.ranking import RankingOptions, evaluate_home
from mllm_srec.finetune.evaluation.report import Report
from mllm_srec.finetune.evaluation.report_view import report_view
from mllm_srec.llm.engine_kinds import EngineKind

ROOT = Path(__file__).parents[2]
SHOP = "shop"
SHOP_PROTOCOLS = (
    Protocol("published", RankingOptions(), peers=PEERS),
    # Many items are new there, which content alone can find.
    Protocol("time", RankingOptions(split_by="time"), peers=("bm25", "content")),
)
CLOSED = ("popularity", "item-knn", "ease", "transitions", "collaborative")
TIMED = ("popularity-recent",)
"""The rows of closed form: of every log, and of one with times."""


def main() -> int:
    """Make what is not made yet, and print all rows side by side."""
    options = _options()
    real = SETS.get(options.set)
    if real is not None and options.home is None and not (options.data / real.folder).is_dir():
        _note(f"skipped {options.set}: {options.data / real.folder} is not there, see --data")
        return 0
    out = options.out / options.set
    files = None if options.home else _files(real, options.data, out)
    home = options.home or _home(real, options.data, out)
    console = Console(highlight=False)
    rows = CLOSED if real and not real.with_times else CLOSED + TIMED
    rows = (RETRIEVAL, FULL, *rows) if options.graph else rows
    names = options.protocol or [one.name for one in _protocols(options.set)]
    protocols = [one for one in _protocols(options.set) if one.name in names]
    choices = Choices(
        users=options.users,
        peers=options.peer,
        minutes=options.minutes,
        python=options.python,
        graph=options.graph,
        model=options.model,
        engine=options.engine,
    )
    try:
        plans = make_plans(protocols, home, files, out, rows, choices)
    except FinetuneError as error:
        _note(str(error))
        return 1
    for note in dict.fromkeys(note for plan in plans for note in plan.notes):
        _note(note)
    for plan in plans:
        report = plan.kept()
        if report is None:
            report = _measured(plan, home, out, choices)
        else:
            _note(f"kept from before: {plan.path}")
        console.print(f"\n{options.set}, {plan.name}")
        console.print(report_view(report))
    return 0


def _protocols(name: str) -> Sequence[Protocol]:
    return SETS[name].protocols if name in SETS else SHOP_PROTOCOLS


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--set", choices=(SHOP, *SETS), default=SHOP, help="the sample shop")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--home", type=Path, help="in place of one that is made, not fused")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "quality")
    parser.add_argument("--protocol", action="append", help="only this one; may be repeated")
    parser.add_argument("--users", type=int, help="in place of the set's own number")
    parser.add_argument("--graph", action="store_true", help="the rows retrieval and full, too")
    parser.add_argument("--model", type=Path, help="of --graph; else the home's, or srec-tiny")
    parser.add_argument("--engine", choices=get_args(EngineKind), default="auto", help="of --graph")
    parser.add_argument(
        "--peer",
        action="append",
        choices=("none", *PEERS),
        help="only this row of other libraries, or none; may be repeated",
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of tuning, for each of them")
    parser.add_argument(
        "--python",
        type=Path,
        default=ROOT / ".venv" / "quality" / "bin" / "python",
        help="of the environment of requirements.txt",
    )
    options = parser.parse_args()
    known = [one.name for one in _protocols(options.set)]
    for name in options.protocol or ():
        if name not in known:
            parser.error(f"--protocol {name!r}: {options.set} has {', '.join(known)}")
    if options.model is not None and not options.graph:
        parser.error("--model is asked for the rows of --graph alone: give that, too")
    return options


def _files(real: RealSet | None, data: Path, out: Path) -> Files:
    if real is not None:
        return files_of(real, data, out)
    shop = sample_shop()
    return Files(shop / "items.parquet", shop / "interactions.parquet", shop)


def _home(real: RealSet | None, data: Path, out: Path) -> Path:
    if real is not None:
        return take_in(real, data, out)
    path = out / "home"
    if not path.exists():
        given = _files(None, data, out)._asdict()
        make_whole(path, lambda home: ingest(home, **given, fuse_now=False))
    return path


def _measured(plan: Plan, home: Path, out: Path, choices: Choices) -> Report:
    """Carry a plan out, and keep its report."""
    settings = Settings()
    fits = Fits(
        home=home,
        out=out / "fits",
        python=choices.python,
        minutes=choices.minutes,
        min_rating=settings.liked_rating,
        options=plan.options,
        say=_note,
        models=plan.peers,
    )
    report = evaluate_home(
        home,
        plan.options,
        settings=settings,
        engine=choices.engine,
        model=choices.model,
        progress=PlainProgress(_note),
        say=_note,
        others=fits if plan.peers else lambda split: {},
    )
    report.notes += plan.notes
    if plan.peers:
        report.notes.append(
            f"rows of other libraries: {choices.minutes:g} minutes each for tuning on validation; "
            "lists of 500, AUC beyond them counts as a tie"
        )
    held = {"asked": plan.asked, "made": made_on(), "report": report.model_dump()}
    text = json.dumps(held, indent=1)
    make_whole(plan.path, lambda file: file.write_text(text, "utf-8"))
    draw_comparison(report, plan.path.with_suffix(".png"))
    return report


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
