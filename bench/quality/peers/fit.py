"""Fit one baseline of another library on a written split, and write its lists for the cases asked.

Run by the Python of `requirements.txt`, which does not know the package: parquet files in, parquet
files out. The best trial on the validation part by NDCG@100 makes the lists; nothing but the
training part is fitted.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from written import Data, Lists, Trial

MODELS = ("bm25", "content", "sasrec", "esasrec", "sasrec-fused")
LIBRARIES = ("rectools", "bm25s", "torch", "numpy")


def main() -> None:
    """Tune one model within its minutes, and write its lists and what is to be known of them."""
    options = _options()
    data, started = Data(options.data), time.monotonic()
    tried: list[dict[str, Any]] = []
    lists: Lists = {}
    for trial in _trials(data, options.model, options.minutes):
        best = max((one["validation_ndcg@100"] for one in tried), default=-1.0)
        tried.append({**trial.settings, "validation_ndcg@100": trial.gain})
        sys.stderr.write(json.dumps(tried[-1]) + "\n")
        if trial.gain > best:
            lists = trial.make(data.asked)
    about = {
        "chosen": max(tried, key=lambda one: one["validation_ndcg@100"]),
        "tried": tried,
        "minutes": options.minutes,
        "seconds": time.monotonic() - started,
        "versions": {name: version(name) for name in LIBRARIES},
    }
    _write(options.data, options.model, lists, about)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the written split")
    parser.add_argument("--minutes", type=float, required=True, help="of training, at most")
    return parser.parse_args()


def _trials(data: Data, model: str, minutes: float) -> Iterator[Trial]:
    # Late: who asks for words does not wait for torch.
    if model in ("bm25", "content"):
        import content_models  # noqa: PLC0415

        return content_models.bm25(data) if model == "bm25" else content_models.content(data)
    import sequence_models  # noqa: PLC0415

    return sequence_models.trials(data, model, minutes)


def _write(folder: Path, model: str, lists: Lists, about: dict[str, Any]) -> None:
    """Write both files, the lists last and whole: they say that the model is done."""
    (folder / f"{model}.json").write_text(json.dumps(about, indent=1), "utf-8")
    table = pd.DataFrame(
        [(case, items, scores) for case, (items, scores) in lists.items()],
        columns=["case", "items", "scores"],
    )
    unfinished = folder / f"{model}.partial"
    table.to_parquet(unfinished)
    unfinished.replace(folder / f"{model}.parquet")


if __name__ == "__main__":
    main()
