"""`srec chat` itself, with the model that ships, on a terminal of a normal size."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllm_srec.agent.chat.commands import COMMANDS
from mllm_srec.agent.demo import sample_shop
from mllm_srec.store.home import Home

from .terminal import Terminal

pytestmark = pytest.mark.timeout(1200)

SREC = str(Path(sys.executable).with_name("srec"))
ITEMS = 12
INGEST_S = 900
NODE = r"\d+\.\d s  .*[a-z_]+ …"
TALK = (
    ("/help", r"/retry +say the last thing again"),
    ("/more", r"For \S+:\n(.*\n)+1\. .+ \[\w+\], \d+\.\d\d\n"),
    ("/recommend 2", r"For \S+:\n(.*\n)*1\. .+ \[\w+\](.*\n)+2\. .+ \[\w+\]"),
    ("/why 1", r"\ncategory: \w+"),
    ("/why not 2", r"is in the list, at 2\."),
    ("/compare 1 2", r"Side by side:\n(.*\n)+both: "),
    ("/retry", r"Side by side:\n(.*\n)+both: "),
    ("/more 1", r"Noted: more like .+ \[\w+\]\. Like it are:\n"),
    ("/less 2", r"Noted: less like .+ \[\w+\]\. For \S+:\n"),
    ("/never 1", r"Noted: never .+ \[\w+\]\. For \S+:\n"),
    ("/undo", r"Taken back: never .+ \[\w+\]\."),
    ("/profile", r"What is known about (.*\n)+lately (.*\n)+you said: less like "),
    ("/history", r"Your newest, oldest first:\n.+ \[\w+\]"),
    ("/add 1", r"Added to your history, rated 5: .+ \[\w+\]\."),
    ("/remove 1", r"Taken out of your history: .+ \[\w+\]\."),
    ("/image PICTURE", r"Your picture shows .+\. Nearest to it:\n"),
    ("/search red", r"Nearest to “red”:\n(.*\n)*1\. .+ \[\w+\]"),
    ("/trace", r"act\b"),
    ("/threads", r"● +first +\d{4}-\d\d-\d\d \d\d:\d\d +17 turns"),
    ("/fork", r"thread \w+ goes on from here; first stays as it is"),
    ("/resume first", r"thread first goes on after 17 turns"),
    ("/export md EXPORT", r"written:\s"),
    ("/doctor", r"Python"),
    ("/user nobody", r"talking with nobody"),
    ("/forget", r"Forget what\?"),
)


def srec(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SREC, *arguments], capture_output=True, text=True, check=False, timeout=INGEST_S
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The most bought of the sample shop."""
    path, shop = tmp_path_factory.mktemp("command") / "home", sample_shop()
    files = ("--items", "items.parquet", "--interactions", "interactions.parquet")
    named = [str(shop / each) if "." in each else each for each in files]
    few = ("--limit-items", str(ITEMS), "--engine", "transformers", "--home", str(path))
    done = srec("ingest", *named, "--images", str(shop), *few)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def user(home: Path) -> str:
    """Who bought most of them."""
    with Home.open(home) as opened:
        counts = opened.catalogue.interactions_frame().group_by("user_id").len()
        return str(counts.sort("len", "user_id", descending=[True, False])["user_id"][0])


@pytest.fixture
def terminal(home: Path, user: str) -> Iterator[Terminal]:
    options = ("--engine", "transformers", "--home", str(home), "--thread", "first")
    opened = Terminal([SREC, "chat", "--user", user, *options])
    yield opened
    opened.kill()


def test_every_command_is_typed_at_the_terminal(
    terminal: Terminal, home: Path, user: str, tmp_path: Path
) -> None:
    started = terminal.ready()
    assert f"{user}, thread first" in started
    with Home.open(home) as opened:
        picture = next(each.picture for each in opened.catalogue.items().values() if each.picture)
        file = io.BytesIO()
        opened.pictures.load(picture).save(file, "PNG")
    (tmp_path / "shown.png").write_bytes(file.getvalue())
    # A message first: whatever the model reads in it, the nodes tick by and there is an answer.
    terminal.send("what would suit me?\r")
    terminal.flashed(NODE)
    terminal.ready()
    places = {"PICTURE": tmp_path / "shown.png", "EXPORT": tmp_path / "talk.md"}
    for line, pattern in TALK:
        typed = re.sub("PICTURE|EXPORT", lambda name: str(places[name[0]]), line)
        shown = terminal.say(typed)
        assert re.search(pattern, shown), f"{line}:\n{shown}"
    terminal.send("/delete\r")
    terminal.wait(r"Delete thread \w+ and all that was said in it\? \[y/N\]")
    terminal.send("y\r")
    terminal.wait("deleted: ")
    terminal.send("/quit\r")
    terminal.leave()
    assert terminal.child.exitstatus == 0
    exported = (tmp_path / "talk.md").read_text("utf-8")
    assert "> /compare 1 2" in exported
    assert "    Side by side:" in exported
    assert {line.split()[0][1:] for line, _ in TALK} | {"delete", "quit"} == set(COMMANDS)
