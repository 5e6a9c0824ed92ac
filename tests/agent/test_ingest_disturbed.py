"""The real `srec ingest` on a full disk, beside another one, and killed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllm_srec.store.home import Home
from tests.agent.commands import GOOD, PROGRAM, Shop, Srec, start, stored
from tests.store.conftest import picture

ON_A_FULL_DISK = (
    f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); {PROGRAM}"
)


def test_a_full_disk_is_one_line_and_a_second_run_completes(
    srec: Srec, shop: Shop, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    out, err = (process := start(shop.ingest(home), ON_A_FULL_DISK)).communicate(timeout=240)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1].startswith("srec: the disk is full")
    assert "Traceback" not in err
    assert srec(*shop.ingest(home)).code == 0
    assert stored(home) == GOOD


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A home that this process writes to."""
    with Home.open(tmp_path / "held", create=True) as home, home.lock():
        yield home.path


def test_of_two_ingests_at_once_the_second_is_told_to_wait(shop: Shop, held: Path) -> None:
    out, err = (process := start(shop.ingest(held))).communicate(timeout=240)
    assert (process.returncode, out) == (1, "")
    assert f"process {os.getpid()} writes to" in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", ["reading items", "reading interactions", "checking pictures", "writing rows"]
)
def test_an_ingest_killed_at_a_stage_and_run_again_ends_with_the_same_content(
    srec: Srec, shop: Shop, tmp_path: Path, stage: str
) -> None:
    home = tmp_path / "home"
    shop.write(
        [{"item_id": f"k{n}", "title": f"Kite {n}", "image": f"{n}.jpg"} for n in range(1, 400)],
        [
            {"user_id": f"v{n % 90}", "item_id": f"k{1 + n % 399}", "timestamp": n}
            for n in range(9000)
        ],
    )
    for n in range(1, 400):
        (shop.folder / f"{n}.jpg").write_bytes(picture(f"#{n:06x}"))
    process = start(shop.ingest(home))
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(stage):
            process.kill()
            break
    process.communicate()
    assert process.returncode == -9
    again = srec(*shop.ingest(home), "--json")
    assert again.code == 0, again.err
    whole = srec(*shop.ingest(tmp_path / "whole"), "--json")
    assert stored(home) == stored(tmp_path / "whole")
    for fact in ("items", "interactions", "users", "rejected", "pictures_rejected"):
        assert again.report[fact] == whole.report[fact]
    assert pictures(home) == pictures(tmp_path / "whole")


def pictures(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "pictures").rglob("*") if path.is_file())
