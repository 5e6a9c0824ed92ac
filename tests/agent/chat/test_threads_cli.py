"""`srec threads`: which conversations there are, and which may stay."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mllm_srec.agent.conversation.retention import expired
from mllm_srec.store.home import Home
from mllm_srec.store.records import DAY_S
from mllm_srec.store.threads import Thread

from .terminal import WAIT_S

SREC = str(Path(sys.executable).with_name("srec"))
LONG = "x" * 100_000
USERS = ("ada", "ada", "ada", "ben")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three old threads of ada, one of ben."""
    path = tmp_path / "home"
    with Home.open(path, create=True) as opened:
        for number, user in enumerate(USERS):
            opened.threads.start(f"old-{number}", user, now=number)
            opened.threads.accept(f"old-{number}", {"text": LONG})
    return path


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SREC, "threads", *arguments, "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )


def kept(home: Path) -> list[str]:
    with Home.open(home) as opened:
        return [each.thread_id for each in opened.threads.all()]


def pruned(home: Path, *arguments: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(run(home, "prune", "--json", *arguments).stdout)
    return said


def test_threads_are_listed_newest_first(home: Path) -> None:
    assert kept(home) == ["old-3", "old-2", "old-1", "old-0"]
    [first, *others] = run(home, "list").stdout.splitlines()
    *row, said = first.split()
    assert row == ["old-3", "1970-01-01", "00:00", "1", "turn", "ben"]
    assert said == "x" * (len(said) - 1) + "…"
    assert len(others) == 3
    lines = run(home, "list", "--user", "ada", "--json").stdout.splitlines()
    assert [json.loads(line)["thread_id"] for line in lines] == ["old-2", "old-1", "old-0"]


def test_a_user_without_conversations_is_told_so(home: Path) -> None:
    assert run(home, "list", "--user", "eve").stdout == "no conversations yet\n"
    assert run(home, "list", "--user", "eve", "--json").stdout == ""


def test_pruning_needs_a_limit_and_a_yes_and_gives_disk_back(home: Path) -> None:
    assert run(home, "prune").returncode == 2
    assert pruned(home, "--count", "1", "--user", "ada") == {"threads": 2, "deleted": 0}
    assert len(kept(home)) == len(USERS)
    done = pruned(home, "--count", "1", "--yes")
    assert (done["threads"], done["deleted"]) == (2, 2)
    assert done["bytes_after"] < done["bytes_before"] - 2 * len(LONG)
    assert kept(home) == ["old-3", "old-2"]


def test_what_a_chat_has_open_stays(home: Path) -> None:
    with Home.open(home) as opened, opened.thread_lock("old-3"):
        done = run(home, "prune", "--days", "1", "--yes")
    assert "3 deleted" in done.stdout
    assert "1 stay, because a chat has them open" in done.stdout
    assert kept(home) == ["old-3"]


def test_limits_of_age_and_number_each_take_theirs() -> None:
    threads = [
        Thread(thread_id=f"{user}{age}", user_id=user, started=-age * DAY_S)
        for age, user in ((0, "a"), (1, "b"), (2, "a"), (3, "a"), (9, "b"))
    ]

    def gone(days: float | None = None, count: int | None = None) -> list[str]:
        return [each.thread_id for each in expired(threads, days=days, count=count, now=0.0)]

    assert gone() == []
    assert gone(days=2.5) == ["a3", "b9"]
    assert gone(count=1) == ["a2", "a3", "b9"]
    assert gone(count=2, days=1.5) == ["a2", "a3", "b9"]
    assert gone(count=0) == [each.thread_id for each in threads]
