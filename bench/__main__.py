"""`python -m bench`: measure all limits, write `bench/results.json`, exit 1 when one misses."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Set
from contextlib import closing
from pathlib import Path

from bench import demo, startup
from bench.figures import Figure, table, write
from mllm_srec.llm.load import bundled_model

RESULTS = Path(__file__).parent / "results.json"
DEMO = {"demo_peak_gib", "demo_seconds", "demo_again_seconds"}
SCORE = {"score_vllm", "score_transformers"}
IN_PROCESS = {"fuse_ratio", "overhead", *SCORE}
"""Figures taken in this process, over one engine."""
ALL = {"help_seconds", "import_clean", *DEMO, *IN_PROCESS}


def main() -> int:
    """Measure what was asked for."""
    options = _options()
    wanted = set(options.only or ALL)
    figures = []
    with tempfile.TemporaryDirectory(prefix="srec-bench-") as folder:
        for figure in _measure(wanted, options, Path(folder)):
            figures.append(figure)
            write(RESULTS, [figure])
            sys.stderr.write(f"{figure.name}: {figure.value:.3g}\n")
    sys.stdout.write(table(figures))
    return 0 if all(figure.passed for figure in figures) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=sorted(ALL), help="measure this one; may be repeated"
    )
    parser.add_argument("--model", type=Path, default=bundled_model(), help="folder of the model")
    parser.add_argument("--items", type=int, default=512, help="items of the sample shop to fuse")
    parser.add_argument("--repeats", type=int, default=3, help="turns of what is compared")
    return parser.parse_args()


def _measure(wanted: Set[str], options: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Yield the figures wanted, and those that are measured along with them."""
    if "help_seconds" in wanted:
        yield from startup.measure_help(options.repeats)
    if "import_clean" in wanted:
        yield from startup.measure_import()
    if wanted & DEMO:
        yield from demo.measure(folder, options.model)
    if wanted & IN_PROCESS:
        yield from _in_process(wanted, options, folder)


def _in_process(wanted: Set[str], options: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    # Late: these load the agent and its libraries, which the figures before do without.
    from bench import fusing, overhead, scoring  # noqa: PLC0415
    from bench.shop import Shop  # noqa: PLC0415

    with closing(Shop(folder, options.model, options.items)) as shop:
        if "fuse_ratio" in wanted:
            yield from fusing.measure(shop, options.repeats)
        if wanted & SCORE:
            yield from scoring.measure(shop, options.repeats)
        if "overhead" in wanted:
            yield from overhead.measure(shop, options.repeats)


if __name__ == "__main__":
    sys.exit(main())
