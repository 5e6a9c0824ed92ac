"""The first sign of life of `srec chat`."""

import subprocess
import sys
from pathlib import Path

from .terminal import WAIT_S

HEAVY = (
    "torch",
    "vllm",
    "chromadb",
    "langgraph",
    "langchain_core",
    "sqlalchemy",
    "numpy",
    "polars",
)
WATCHED = f"""
import sys
from mllm_srec.agent.cli import main

say = sys.stderr.write

def first(text):
    sys.stderr.write = say
    return say(text + str([name for name in {HEAVY} if name in sys.modules]) + "\\n")

sys.stderr.write = first
main()
"""


def test_the_first_words_wait_for_no_heavy_import(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "chat", "--user", "ben", "--home", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    said, heavy, error = done.stderr.splitlines()
    assert said == "loading the model ..."
    assert heavy == "[]"
    assert "no home at" in error
