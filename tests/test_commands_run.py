"""The commands of the README, and of the page on PostgreSQL, do what it says, on a scripted engine.

The other pages need data sets, and hours: of those, the commands are parsed alone.
"""

import io
import json
import os
import re
import shlex
import sys
from pathlib import Path

import polars as pl
import psycopg
import pytest
from PIL import Image

from mllm_srec.agent.cli import main
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.llm.load import Loaded
from tests.agent.conversation.talk import engine
from tests.agent.shop import COLOURS, ITEMS, LOG, deploy
from tests.postgresql import PASSWORD, Server
from tests.test_documented_commands import ROOT, shown

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


def do(line: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command as a shell would; its exit code."""
    words = [os.path.expanduser(word) for word in shlex.split(line, comments=True)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_the_commands_of_the_readme_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(line: str, names: dict[str, str]) -> str:
        line = re.sub(r"\b(USER|ID|A|B)\b", lambda name: names[name[0]], line)
        monkeypatch.setattr(sys, "stdin", io.StringIO("two things please\n/why 1\n"))
        code = do(line, monkeypatch)
        out, err = capfd.readouterr()
        # Of two lists that differ, `diff` says so by its exit code.
        assert code in ((0, 1) if "diff" in line.split() else (0, None)), f"{line}: {err}"
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


PAGE = (ROOT / "docs" / "postgresql.md").read_text("utf-8")


def plain(text: str) -> list[str]:
    """Lines without numbers, which are those of another shop, and without what aligns them."""
    lines = (re.sub(r"\d[\d,.]*", "", line) for line in text.splitlines() if line != "...")
    return [" ".join(line.split()) for line in lines]


def shown_below(line: str) -> str:
    """What the page shows a command to print."""
    after = PAGE.partition(f"$ {line}\n")[2]
    return re.split(r"^(?:\$ |```)", after, maxsplit=1, flags=re.MULTILINE)[0]


def test_the_commands_of_the_page_on_postgresql_print_what_it_shows(
    folder: Path,
    postgresql: Server,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = [line for page, line, whole in shown() if page == "postgresql.md" and whole]
    ingest, doctor, recommend = lines
    url = postgresql.empty()
    [address] = re.findall(r"echo 'database_url = \"(.*)\"' > ~/shop/srec\.toml", PAGE)
    assert address == "postgresql://srec@127.0.0.1/shop"
    (folder / "shop").mkdir()
    settings = f'database_url = "{url.replace(f":{PASSWORD}", "")}"\n'
    (folder / "shop" / "srec.toml").write_text(settings)
    pl.read_csv(folder / "items.csv").drop("image").write_parquet(folder / "items.parquet")
    pl.read_csv(folder / "log.csv").write_parquet(folder / "interactions.parquet")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)

    assert do(ingest.replace("--limit-items 40", "--limit-items 6"), monkeypatch) == 0
    out = capfd.readouterr().out
    told = plain(shown_below(ingest).replace("with transformers", "with scripted"))
    # No text of this small shop is a counted form.
    assert plain(out) == [line for line in told if "counted form" not in line]

    assert do(doctor, monkeypatch) == 0
    there = f"'postgres' at {postgresql.folder}"
    told = plain(shown_below(doctor).replace("'shop' at 127.0.0.1", there))
    assert set(told) <= set(plain(capfd.readouterr().out))

    [statement] = re.findall(r'shop -Atc "(.*)"', PAGE)
    with psycopg.connect(url) as connection:
        assert connection.execute(statement.encode()).fetchone() == (int(out.split()[2]),)

    monkeypatch.delenv("PGPASSWORD")
    assert do(recommend, monkeypatch) == 1
    [failed] = capfd.readouterr().err.splitlines()
    said = shown_below(recommend).strip()
    assert failed.startswith("srec: the database 'postgres' answers 'connection failed: ")
    assert failed.endswith(said[said.index("failed: fe_sendauth") :])
