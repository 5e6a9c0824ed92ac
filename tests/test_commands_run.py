"""The commands of the README do what it says, one after the other, on a scripted engine."""

import io
import json
import os
import re
import shlex
import sys
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from mllm_srec.agent.cli import main
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.llm.load import Loaded
from tests.agent.conversation.talk import engine
from tests.agent.shop import COLOURS, ITEMS, LOG, deploy
from tests.test_documented_commands import shown

DEMO = ".local/share/srec-demo"
ELSEWHERE = re.compile(
    r"srec ((serve|mcp|sample-shop|finetune|evaluate)\b|ingest .*(--no-fuse|--model))"
)
"""Commands that wait for a client, and the long way to a model: other tests are about them."""
SHOWN = [line for page, line, whole in shown() if page == "README.md" and whole]
RUN = [line for line in SHOWN if not ELSEWHERE.match(line)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person is who reads the README: the shop's files, and the home of the demo."""
    (tmp_path / "pictures").mkdir()
    for item_id, (_, colour, _) in ITEMS.items():
        Image.new("RGB", (40, 40), COLOURS[colour]).save(tmp_path / "pictures" / f"{item_id}.png")
    Image.new("RGB", (40, 40), COLOURS["red"]).save(tmp_path / "photo.png")
    items = [
        {
            "item_id": item_id,
            "title": f"Fine {what}",
            "description": f"Made of {material}.",
            "price": 20.0,
            "image": f"{item_id}.png",
        }
        for item_id, (what, _, material) in ITEMS.items()
    ]
    log = [
        {"user_id": user, "item_id": item_id, "rating": rating, "position": position}
        for user, entries in LOG.items()
        for position, (item_id, rating) in enumerate(entries)
    ]
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")
    pl.DataFrame(log).write_csv(tmp_path / "log.csv")
    (tmp_path / DEMO).parent.mkdir(parents=True)
    with deploy(tmp_path / DEMO, engine()) as deployment:
        fuse_missing(deployment)

    def load(*_: object, **__: object) -> Loaded:
        return Loaded(engine(), None)

    monkeypatch.setattr("mllm_srec.agent.deployment.load_engine", load)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SREC_HOME", str(tmp_path / "shop"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_readme_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(line: str, names: dict[str, str]) -> str:
        line = re.sub(r"\b(USER|ID|A|B)\b", lambda name: names[name[0]], line)
        words = [os.path.expanduser(word) for word in shlex.split(line, comments=True)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "stdin", io.StringIO("two things please\n/why 1\n"))
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        # Of two lists that differ, `diff` says so by its exit code.
        assert left.value.code in ((0, 1) if "diff" in words else (0, None)), f"{line}: {err}"
        return out

    names = {"USER": "ben"}
    said = {}
    for line in RUN:
        if line.startswith("srec trace") and "ID" not in names:
            for name in ("A", "B", "ID"):
                listed = json.loads(run("srec recommend USER -k 3 --json", names))
                names[name] = listed["trace_id"]
        said[" ".join(line.split()[1:3])] = run(line, names)
    assert len(said) > 10
    assert "1. Fine" in said["chat --user"]
    assert "Fine" in said["recommend USER"]
    assert re.search(r"recommend \d items +ben", said["trace list"])
    assert said["trace replay"].strip().endswith("equal, bit for bit")
    assert "<html" in (folder / "run.html").read_text("utf-8")
    assert '"ben"' not in run("srec trace list --json", names)
