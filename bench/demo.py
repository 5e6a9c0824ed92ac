"""`srec demo` in a home of its own, twice: seconds, and memory of all its processes."""

import subprocess
import time
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.startup import SREC

EVERY_S = 0.25
GIB = 1 << 30


def measure(folder: Path, model: Path) -> list[Figure]:
    """Run the demo in a fresh home, and again in the same."""
    home = folder / "demo"
    seconds, peak = _run(home, model)
    again, peak_again = _run(home, model)
    memory = f"GiB, sum of proportional set sizes, every {EVERY_S} s; {peak_again:.2f} again"
    return [
        Figure("demo_peak_gib", peak, 4.0, at_least=False, detail=memory),
        Figure("demo_seconds", seconds, 120.0, at_least=False, detail="seconds, fresh home"),
        Figure("demo_again_seconds", again, 75.0, at_least=False, detail="seconds, same home"),
    ]


def _run(home: Path, model: Path) -> tuple[float, float]:
    """Seconds of one demo, and its highest memory in GiB."""
    command = [str(SREC), "demo", "--home", str(home), "--model", str(model), "--json"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _family_bytes(process.pid))
            time.sleep(EVERY_S)
    if process.returncode:
        raise RuntimeError(f"srec demo ended with {process.returncode}")
    return time.perf_counter() - started, peak / GIB


def _family_bytes(pid: int) -> int:
    """Proportional set size of a process and all below it."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_bytes(member.pid) for member in family)


def _bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # It has just ended.
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
