"""How fast the command answers, and what importing the agent loads."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench.figures import Figure

HEAVY = ("torch", "vllm", "chromadb", "langgraph", "langchain_core")
SREC = Path(sys.executable).with_name("srec")


def measure_help(repeats: int) -> list[Figure]:
    """Time `srec --help`; the first time reads files from the disk, and does not count."""
    seconds = []
    for _ in range(2 * repeats + 2):
        started = time.perf_counter()
        subprocess.run([SREC, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    detail = f"seconds, median of {len(seconds) - 1}"
    return [Figure("help_seconds", median(seconds[1:]), 0.3, at_least=False, detail=detail)]


def measure_import() -> list[Figure]:
    """Count the heavy packages that `import mllm_srec.agent` loads."""
    program = f"import sys, mllm_srec.agent; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    loaded = done.stdout.split()
    detail = " ".join(loaded) or f"none of {', '.join(HEAVY)} is loaded"
    return [Figure("import_clean", len(loaded), 0, at_least=False, detail=detail)]
