"""Where a test may skip for want of vLLM, and where that is a failure."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.rules import require_vllm

ROOT = Path(__file__).parents[1]
MAKE = """#!/bin/sh
echo "CI=$CI addopts=$PYTEST_ADDOPTS make $*"
"""


def test_where_vllm_is_installed_nothing_skips() -> None:
    require_vllm(installed=True, in_ci=True)
    require_vllm(installed=True, in_ci=False)


def test_without_vllm_a_person_s_test_skips_and_that_of_ci_fails() -> None:
    with pytest.raises(pytest.skip.Exception):
        require_vllm(installed=False, in_ci=False)
    with pytest.raises(pytest.fail.Exception) as failure:
        require_vllm(installed=False, in_ci=True)
    named = re.search(r"`make ([^`]+)`", str(failure.value))
    assert named
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(named[1].split()) <= set(targets)


def test_ci_runs_make_test_with_its_rules(tmp_path: Path) -> None:
    """`make` is a program that says how it was called; a browser is not looked for."""
    for name, text in {"make": MAKE, "chromium": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    without = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [ROOT / ".ci" / "run"],
        env={**without, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTEST_ADDOPTS": "-q"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "CI=true addopts=-q make test\n"
