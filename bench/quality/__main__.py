"""`python -m bench.quality`: all baselines side by side, fitted apart, scored by the same code.

One command makes the tables of one data set, protocol by protocol. What is finished is kept, and
not made again until its file is deleted: an interrupted run goes on from there.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from bench.machine import made_on
from bench.quality.fits import MODELS, WITH_VECTORS, Fits
from bench.quality.real_sets import SETS, Protocol, RealSet, take_in
from mllm_srec.agent.demo import sample_shop
from mllm_srec.agent.deployment import WEIGHTS
from mllm_srec.agent.ingest import ingest
from mllm_srec.agent.state import Settings
from mllm_srec.agent.terminal.output import PlainProgress
from mllm_srec.finetune.evaluation.charts import draw_comparison
from mllm_srec.finetune.evaluation.evaluate import FULL, RETRIEVAL
from mllm_srec.finetune.evaluation.ranking import RankingOptions, evaluate_home
from mllm_srec.finetune.evaluation.report import Report
from mllm_srec.finetune.evaluation.report_view import report_view
from mllm_srec.llm.load import EngineKind, bundled_model, model_hash, resolve_model
from mllm_srec.store.home import Home

ROOT = Path(__file__).parents[2]
SHOP = "shop"
SHOP_PROTOCOLS = (
    Protocol("published", RankingOptions(), peers=True),
    Protocol("time", RankingOptions(split_by="time"), peers=False),
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
    home = options.home or _home(real, options.data, out)
    console = Console(highlight=False)
    rows = CLOSED if real and not real.with_times else CLOSED + TIMED
    rows = (RETRIEVAL, FULL, *rows) if options.graph else rows
    for protocol in real.protocols if real else SHOP_PROTOCOLS:
        if options.protocol and protocol.name not in options.protocol:
            continue
        report = _report(protocol, home, out, rows, options)
        console.print(f"\n{options.set}, {protocol.name}")
        console.print(report_view(report))
    return 0


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
        choices=("none", *MODELS, *WITH_VECTORS),
        help="only this row of other libraries, or none; may be repeated",
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of tuning, for each of them")
    parser.add_argument(
        "--python",
        type=Path,
        default=ROOT / ".venv" / "quality" / "bin" / "python",
        help="of the environment of requirements.txt",
    )
    return parser.parse_args()


def _home(real: RealSet | None, data: Path, out: Path) -> Path:
    if real is not None:
        return take_in(real, data, out)
    path = out / "home"
    if not path.exists():
        shop = sample_shop()
        ingest(
            path,
            items=shop / "items.parquet",
            interactions=shop / "interactions.parquet",
            images=shop,
            fuse_now=False,
        )
    return path


def _report(
    protocol: Protocol, home: Path, out: Path, rows: tuple[str, ...], options: argparse.Namespace
) -> Report:
    """The report of one protocol, from its file where the same was asked before."""
    ranking = replace(protocol.options, users=options.users or protocol.options.users, rows=rows)
    peers, skipped = _peers(home, options) if protocol.peers else ((), ())
    asked = {**asdict(ranking), "peers": peers, "minutes": options.minutes if peers else None}
    if ranking.asks_model:
        asked |= _model(home, options)
    path = out / f"{protocol.name}.json"
    if (kept := _kept(path, asked)) is not None:
        return kept
    settings = Settings()
    fits = Fits(
        home=home,
        out=out / "fits",
        python=options.python,
        minutes=options.minutes,
        min_rating=settings.liked_rating,
        options=ranking,
        say=_note,
        models=peers,
    )
    report = evaluate_home(
        home,
        ranking,
        settings=settings,
        engine=options.engine,
        model=options.model,
        progress=PlainProgress(_note),
        say=_note,
        others=fits if peers else lambda split: {},
    )
    if skipped:
        report.notes.append(
            f"{', '.join(skipped)}: skipped, the home has no vectors: describe its items with "
            "`srec ingest`"
        )
    if peers:
        report.notes.append(
            f"rows of other libraries: {options.minutes:g} minutes each for tuning on validation; "
            "lists of 500, AUC beyond them counts as a tie"
        )
    out.mkdir(parents=True, exist_ok=True)
    held = {"asked": asked, "made": made_on(), "report": report.model_dump()}
    path.write_text(json.dumps(held, indent=1), "utf-8")
    draw_comparison(report, path.with_suffix(".png"))
    return report


def _peers(home: Path, options: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The rows of other libraries that were asked for, and those that the home cannot have."""
    chosen = tuple(name for name in options.peer or (*MODELS, *WITH_VECTORS) if name != "none")
    with Home.open(home) as opened:
        described = set(opened.catalogue.item_ids()) <= opened.representations.ids()
    skipped = () if described else tuple(name for name in chosen if name in WITH_VECTORS)
    return tuple(name for name in chosen if name not in skipped), skipped


def _model(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the rows of the graph depend on besides the home's data."""
    with Home.open(home) as opened:
        model = resolve_model(options.model or opened.model or bundled_model())
        return {
            "engine": options.engine,
            "model_hash": model_hash(model),
            "weights": opened.read_setting(WEIGHTS),
        }


def _kept(path: Path, asked: dict[str, Any]) -> Report | None:
    """The report that the same question made before."""
    if not path.exists():
        return None
    held = json.loads(path.read_text("utf-8"))
    # Through JSON, as the file went: tuples are lists there.
    if held["asked"] != json.loads(json.dumps(asked)):
        return None
    _note(f"kept from before: {path}")
    return Report.model_validate(held["report"])


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
