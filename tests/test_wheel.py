"""The wheel: everything that is tracked is in it, and it works away from the checkout."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_packaging import FOLDERS, ROOT, tracked_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A copy of the checkout in which `make wheel` ran, and what it said."""
    copy = tmp_path_factory.mktemp("wheel") / "checkout"
    for path in tracked_files():
        if path.is_file():
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    ready = ROOT / ".venv" / "ready"
    # The environment that runs this test is the one that is ready: `-o` leaves it alone.
    done = subprocess.run(
        ["make", "-C", copy, "wheel", f"BIN={BIN}", f"READY={ready}", "-o", ready],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    yield copy, done.stdout
    shutil.rmtree(copy)


def test_the_wheel_holds_every_tracked_file_of_the_packages(made: tuple[Path, str]) -> None:
    [wheel] = (made[0] / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = {path.relative_to(ROOT) for path in tracked_files() if path.is_file()}
    shipped = {f"mllm_srec/{path}" for path in tracked if path.parts[0] in FOLDERS}
    assert len(shipped) > 1_000
    assert held == shipped


def test_a_command_of_the_wheel_recommends_with_what_the_wheel_brought(
    made: tuple[Path, str],
) -> None:
    checkout, said = made
    assert "Top 3" in said
    program = "import mllm_srec.agent.cli, mllm_srec.llm.prompting as p; print(p.__file__)"
    python = checkout / "build" / "venv" / "bin" / "python"
    found = subprocess.run(
        [python, "-c", program], cwd="/", capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(checkout / "build" / "venv")
