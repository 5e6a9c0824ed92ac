"""`python -m bench`: measure all limits, write `bench/results.json`, exit 1 when one misses."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Set
from contextlib import closing
from pathlib import Path

from bench import demo, growth, startup
from bench.figures import RESULTS, Figure, exit_code, table, write
from bench.machine import made_on
from mllm_srec.llm.load import bundled_model

DEMO = {"demo_peak_gib", "demo_seconds", "demo_again_seconds"}
SCORE = {"score_vllm", "score_transformers"}
MANY = {"many_of_raw", "many_over_loop"}
RECORDING = {"recording_share", "recording_kib"}
SINGLE = {"fuse_ratio", "overhead", "increment", "peer_loop", "conversations_gain"}
IN_PROCESS = {*SINGLE, *SCORE, *MANY, *RECORDING}
"""Figures taken in this process, over one engine."""
GROWTH = {"ingest_time_growth", "ingest_memory_growth", "query_growth"}
TRACES = {"trace_list_seconds", "trace_search_seconds", "trace_show_seconds"}
RAY = {"ray_differences"}
ALL = {"help_seconds", "import_clean", *DEMO, *IN_PROCESS, *GROWTH, *TRACES, *RAY}


def main() -> int:
    """Measure what was asked for."""
    options = _options()
    wanted = set(options.only or ALL)
    figures = []
    with tempfile.TemporaryDirectory(prefix="srec-bench-") as folder:
        for figure in _measure(wanted, options, Path(folder)):
            figures.append(figure)
            write(RESULTS, [figure], made_on())
            sys.stderr.write(f"{figure.name}: {figure.value:.3g}\n")
    sys.stdout.write(table(figures))
    return exit_code(figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=sorted(ALL), help="measure this one; may be repeated"
    )
    parser.add_argument("--model", type=Path, default=bundled_model(), help="folder of the model")
    parser.add_argument("--items", type=int, default=512, help="items of the sample shop to fuse")
    parser.add_argument("--users", type=int, default=200, help="asked at once")
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
    if wanted & GROWTH:
        yield from growth.measure(folder, options.model)
    if wanted & TRACES:
        # Late, as below: it loads the trace views.
        from bench import traces  # noqa: PLC0415

        yield from traces.measure(folder, options.repeats)
    if wanted & RAY:
        from bench import ray_fusing  # noqa: PLC0415

        yield from ray_fusing.measure(folder, options.model)
    if wanted & IN_PROCESS:
        yield from _in_process(wanted, options, folder)


def _in_process(wanted: Set[str], options: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    # Late: these load the agent and its libraries, which the figures before do without.
    from bench import (  # noqa: PLC0415
        conversations,
        fusing,
        increment,
        many,
        overhead,
        peer,
        recording,
        scoring,
    )
    from bench.shop import Shop  # noqa: PLC0415

    with closing(Shop(folder, options.model, options.items)) as shop:
        if "fuse_ratio" in wanted:
            yield from fusing.measure(shop, options.repeats)
        if wanted & SCORE:
            yield from scoring.measure(shop, options.repeats)
        if "overhead" in wanted:
            yield from overhead.measure(shop)
        if "increment" in wanted:
            yield from increment.measure(shop)
        if wanted & RECORDING:
            yield from recording.measure(shop)
        if wanted & MANY:
            yield from many.measure(shop, options.users, options.repeats)
        if "peer_loop" in wanted:
            yield from peer.measure(shop)
        if "conversations_gain" in wanted:
            yield from conversations.measure(shop)


if __name__ == "__main__":
    sys.exit(main())
