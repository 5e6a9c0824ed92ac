"""A chat that is killed in the middle of a turn, and the next one on its thread."""

import json
import sqlite3
from pathlib import Path

import pytest

from .terminal import Terminal, piped, scripted

UNDERSTAND = "What does the user want?"
WINDOW = "Update what"
PROFILE = "Describe the stable taste"
SCORE = "score"
REASON = "Say in one sentence"


def asked(home: Path) -> list[str]:
    """How the prompts began that the engine was asked, in order; forgets them."""
    log = home.with_suffix(".log")
    lines = log.read_text("utf-8").splitlines()
    log.unlink()
    return lines


def count(lines: list[str], beginning: str) -> int:
    return sum(line.startswith(beginning) for line in lines)


@pytest.mark.parametrize(
    ("slow", "node", "done", "left"),
    [
        (UNDERSTAND, "understand", [], [UNDERSTAND, WINDOW, PROFILE, SCORE, REASON]),
        (SCORE, "score_targets", [UNDERSTAND, WINDOW, PROFILE], [SCORE, REASON]),
        (REASON, "explain", [UNDERSTAND, WINDOW, PROFILE, SCORE], [REASON]),
    ],
)
def test_a_killed_turn_goes_on_after_the_last_node_that_was_done(
    tmp_path: Path, slow: str, node: str, done: list[str], left: list[str]
) -> None:
    home = tmp_path / "home"
    killed = Terminal(scripted(home, slow=slow))
    killed.ready()
    asked(home)
    killed.send("never blue\r")
    killed.flashed(f"{node} …")
    killed.kill()
    before = asked(home)
    assert all(count(before, each) for each in done)
    resumed, why = map(json.loads, piped(home, "/why 1\n", "--json").stdout.splitlines())
    after = asked(home)
    # What a finished node had asked is not asked again, and all the rest is.
    assert {each: count(after, each) for each in done} == dict.fromkeys(done, 0)
    assert all(count(after, each) for each in left)
    assert (resumed["turn"], resumed["said"], resumed["intent"]) == (1, "never blue", "never")
    assert resumed["answer"].startswith("Noted: never blue. For you:\n1. ")
    assert why["turn"] == 2
    with sqlite3.connect(home / "feedback.sqlite") as kept:
        assert kept.execute("SELECT stance, subject FROM feedback").fetchall() == [
            ("never", "blue")
        ]
