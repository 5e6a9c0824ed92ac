"""Ingest that is killed, runs out of disk, or meets another ingest."""

import json
import signal
from pathlib import Path

import pytest

from mllm_srec.store.home import Home
from tests.store.conftest import NOW, picture, start

# Arguments: home, folder of the shop, stage to die at, how far in it.
INGEST = f"""
import os, signal, sys
from pathlib import Path
from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.intake import load_shop

home, shop, stage, step = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
calls = 0

def progress(name, done, total):
    global calls
    if name == stage:
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
    if name == "pictures" and stage == "wait":
        print("inside", flush=True)
        sys.stdin.read()

try:
    with Home.open(home, create=True) as opened:
        report = load_shop(opened, items=shop / "items.jsonl", interactions=shop / "log.jsonl",
                           now={NOW}, progress=progress)
except StoreError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
print(report.items, report.interactions, report.users, report.rejected, report.pictures_rejected)
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    items = [
        {"item_id": f"i{n}", "title": f"Item {n}" * 20, "image": f"{n}.png"} for n in range(600)
    ]
    log = [
        {"user_id": f"u{n % 300}", "item_id": f"i{n % 599}", "timestamp": n} for n in range(6_000)
    ]
    for n in range(0, 600, 2):
        (folder / f"{n}.png").write_bytes(picture(f"#{n:06x}", kind="PNG"))
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    return folder


def content(home: Path) -> object:
    with Home.open(home) as opened:
        catalogue = opened.catalogue
        pictures = sorted(p.name for p in (home / "pictures").rglob("*") if p.is_file())
        rejects = [path.read_text() for path in (home / "rejects").iterdir()]
        frame = catalogue.interactions_frame().to_dicts()
        return catalogue.items(), frame, pictures, rejects


def ingest(home: Path, shop: Path, stage: str = "", step: int = 0) -> tuple[int, str]:
    process = start(INGEST, home, shop, stage, step)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out + errors


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> tuple[str, object]:
    home = tmp_path_factory.mktemp("whole") / "home"
    code, said = ingest(home, shop)
    assert code == 0, said
    return said, content(home)


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        pytest.param("items", 1, marks=pytest.mark.slow),
        pytest.param("interactions", 1, marks=pytest.mark.slow),
        pytest.param("pictures", 2, marks=pytest.mark.slow),
        pytest.param("writing", 1, marks=pytest.mark.slow),
        ("writing", 2),
        pytest.param("done", 1, marks=pytest.mark.slow),
    ],
)
def test_an_ingest_killed_and_run_again_ends_with_the_same_content(
    tmp_path: Path,
    shop: Path,
    whole: tuple[str, object],
    stage: str,
    step: int,
) -> None:
    home = tmp_path / "home"
    code, _ = ingest(home, shop, stage, step)
    assert code == -signal.SIGKILL
    if stage != "done":
        with Home.open(home) as opened:
            assert opened.catalogue.item_count() == opened.catalogue.interaction_count() == 0
    assert ingest(home, shop) == (0, whole[0])
    assert content(home) == whole[1]


def test_of_two_ingests_at_once_one_is_told_to_wait(
    tmp_path: Path, shop: Path, whole: tuple[str, object]
) -> None:
    home = tmp_path / "home"
    first = start(INGEST, home, shop, "wait", 0)
    assert first.stdout is not None
    assert first.stdout.readline() == "inside\n"
    code, said = ingest(home, shop)
    assert code == 1
    assert said.startswith(f"HomeBusy: process {first.pid} writes to")
    out, _ = first.communicate("", timeout=120)
    assert (first.returncode, out.splitlines()[-1:]) == (0, whole[0].splitlines())
    assert content(home) == whole[1]


@pytest.mark.parametrize(
    "allowed",
    [
        pytest.param(0, marks=pytest.mark.slow),
        60_000,
        pytest.param(400_000, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_said_and_a_second_run_completes(
    tmp_path: Path, shop: Path, whole: tuple[str, object], allowed: int
) -> None:
    home = tmp_path / "home"
    limited = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({allowed}, {allowed}))\n" + INGEST
    )
    process = start(limited, home, shop, "", 0)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert errors.startswith("StoreError: the disk is full"), errors
    assert "Traceback" not in errors
    assert ingest(home, shop) == (0, whole[0])
    assert content(home) == whole[1]
