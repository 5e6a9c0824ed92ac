"""`python -m bench`: measure all limits, write `bench/results.json`; 1 when one misses or fails."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import closing
from pathlib import Path
from subprocess import SubprocessError

from bench import demo, growth, startup
from bench.figures import RESULTS, Figure, exit_code, table, write
from bench.machine import made_on
from mllm_srec.agent.errors import SREC_ERRORS
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

FAILURES = (RuntimeError, OSError, SubprocessError, *SREC_ERRORS)
"""What keeps a figure from being measured, and not the next one; whatever else is a bug."""
Group = tuple[Set[str], Callable[[], Iterable[Figure]]]
"""Names of figures, and what measures them together."""


def main() -> int:
    """Measure what was asked for; what fails is noted, and the rest is measured."""
    options = _options()
    wanted = set(options.only or ALL)
    figures = dict[str, Figure]()
    failed = dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="srec-bench-") as folder:
        for names, measure in _groups(wanted, options, Path(folder)):
            try:
                for figure in measure():
                    figures[figure.name] = figure
                    write(RESULTS, [figure], made_on())
                    sys.stderr.write(f"{figure.name}: {figure.value:.3g}\n")
            except FAILURES as error:
                why = " ".join(f"{type(error).__name__}: {error}".split())
                for name in sorted((names & wanted) - set(figures)):
                    failed[name] = why
                    sys.stderr.write(f"{name} failed: {why}\n")
    sys.stdout.write(table(figures.values(), failed))
    return exit_code(list(figures.values()), failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=sorted(ALL), help="measure this one; may be repeated"
    )
    parser.add_argument("--model", type=Path, default=bundled_model(), help="folder of the model")
    parser.add_argument("--items", type=int, default=1600, help="items of the sample shop to fuse")
    parser.add_argument("--users", type=int, default=200, help="asked at once")
    parser.add_argument("--repeats", type=int, default=3, help="turns of what is compared")
    return parser.parse_args()


def _groups(wanted: Set[str], options: argparse.Namespace, folder: Path) -> Iterator[Group]:
    """Yield what measures a figure that is wanted, with all that is measured along with it."""
    alone: list[Group] = [
        ({"help_seconds"}, lambda: startup.measure_help(options.repeats)),
        ({"import_clean"}, startup.measure_import),
        (DEMO, lambda: demo.measure(folder, options.model)),
        (GROWTH, lambda: growth.measure(folder, options.model)),
        (TRACES, lambda: _traces(folder, options)),
        (RAY, lambda: _ray(folder, options)),
    ]
    yield from (group for group in alone if group[0] & wanted)
    if wanted & IN_PROCESS:
        yield from (group for group in _in_process(options, folder) if group[0] & wanted)


def _traces(folder: Path, options: argparse.Namespace) -> Iterable[Figure]:
    # Late, as below: it loads the trace views.
    from bench import traces  # noqa: PLC0415

    return traces.measure(folder, options.repeats)


def _ray(folder: Path, options: argparse.Namespace) -> Iterable[Figure]:
    from bench import ray_fusing  # noqa: PLC0415

    return ray_fusing.measure(folder, options.model)


def _in_process(options: argparse.Namespace, folder: Path) -> Iterator[Group]:
    """Yield what is measured over one engine, which is closed after the last."""
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
        yield {"fuse_ratio"}, lambda: fusing.measure(shop, options.repeats)
        yield SCORE, lambda: scoring.measure(shop, options.repeats)
        yield {"overhead"}, lambda: overhead.measure(shop)
        yield {"increment"}, lambda: increment.measure(shop)
        yield RECORDING, lambda: recording.measure(shop)
        yield MANY, lambda: many.measure(shop, options.users, options.repeats)
        yield {"peer_loop"}, lambda: peer.measure(shop)
        yield {"conversations_gain"}, lambda: conversations.measure(shop)


if __name__ == "__main__":
    sys.exit(main())
