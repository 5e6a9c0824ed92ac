"""`python -m bench.quality`: every baseline on one split, fitted apart, scored by the same code."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.quality.exchange import Lists, split_name, write_split
from mllm_srec.agent.demo import sample_shop
from mllm_srec.agent.ingest import ingest
from mllm_srec.agent.output import PlainProgress
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.baselines import Scorer
from mllm_srec.finetune.charts import draw_comparison
from mllm_srec.finetune.evaluate import FULL, RETRIEVAL
from mllm_srec.finetune.ranking_evaluation import RankingOptions, evaluate_home
from mllm_srec.finetune.report_view import report_view
from mllm_srec.finetune.splits import Split
from mllm_srec.store.home import Home

ROOT = Path(__file__).parents[2]
FIT = Path(__file__).parent / "peers" / "fit.py"
MODELS = ("bm25", "sasrec", "esasrec")
WITH_VECTORS = ("content", "sasrec-fused")
CLOSED = ("popularity", "popularity-recent", "item-knn", "ease", "transitions", "collaborative")


def main() -> int:
    """Fit what is not fitted yet, and print all rows side by side."""
    options = _options()
    home = options.home or _sample_home(options.out / "home")
    settings = Settings()
    fits = Fits(home, options.out, options.python, options.minutes, settings.liked_rating)
    report = evaluate_home(
        home,
        RankingOptions(
            users=options.users,
            split_by=options.split_by,
            day_order=options.day_order,
            rows=(RETRIEVAL, FULL, *CLOSED) if options.graph else CLOSED,
        ),
        settings=settings,
        progress=PlainProgress(_note),
        say=_note,
        others=fits,
    )
    report.notes.append(
        f"rows of other libraries: {options.minutes:g} minutes each for tuning on validation; "
        "lists of 500, AUC beyond them counts as a tie"
    )
    (options.out / "report.json").write_text(report.model_dump_json(indent=1), "utf-8")
    draw_comparison(report, options.out / "report.png")
    Console(highlight=False).print(report_view(report))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--home", type=Path, help="a home; the sample shop, not fused, by default")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "quality")
    parser.add_argument(
        "--python",
        type=Path,
        default=ROOT / ".venv" / "quality" / "bin" / "python",
        help="of the environment of requirements.txt",
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of tuning, for each model")
    parser.add_argument("--users", type=int, help="all by default")
    parser.add_argument("--split-by", choices=("user", "time"), default="user")
    parser.add_argument("--day-order", choices=("published", "shuffled"), default="published")
    parser.add_argument("--graph", action="store_true", help="the rows retrieval and full, too")
    return parser.parse_args()


def _sample_home(path: Path) -> Path:
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


@dataclass(frozen=True, slots=True)
class Fits:
    """The rows of other libraries; what is fitted to a split is kept beside it."""

    home: Path
    out: Path
    python: Path
    minutes: float
    min_rating: float | None

    def __call__(self, split: Split) -> Mapping[str, Scorer]:
        """Fit what is missing, and read the lists."""
        folder = self.out / split_name(split)
        with Home.open(self.home) as home:
            items = home.catalogue.items()
            vectors = home.representations.vectors(split.item_ids)
        write_split(split, folder, items=items, vectors=vectors, min_rating=self.min_rating)
        names = MODELS + (WITH_VECTORS if len(vectors) == len(split.item_ids) else ())
        for name in names:
            if not self._fitted(folder, name):
                _note(f"{name}: {self.minutes:g} minutes at most")
                command = [self.python, FIT, name, "--data", folder, "--minutes", self.minutes]
                subprocess.run(list(map(str, command)), check=True)
        return {name: Lists.read(folder, name, split) for name in names}

    def _fitted(self, folder: Path, name: str) -> bool:
        """Whether there are lists that had the same time."""
        if not (folder / f"{name}.parquet").exists():
            return False
        about = json.loads((folder / f"{name}.json").read_text("utf-8"))
        return bool(about["minutes"] == self.minutes)


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
