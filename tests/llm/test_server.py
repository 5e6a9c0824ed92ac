"""The record of a server: one is started at a time, and none is lost, whatever happens to it."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mllm_srec.llm import server
from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.server import ServerRecord

Start = Callable[[Callable[[], object]], ServerRecord]
"""Starts a process that stands for a server; what is given happens before it is ready."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server.json"


@pytest.fixture
def start(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    begun: list[subprocess.Popen[bytes]] = []

    def spawn(*_: object) -> tuple[subprocess.Popen[bytes], int]:
        begun.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
        return begun[-1], 1

    def started(before: Callable[[], object]) -> ServerRecord:
        monkeypatch.setattr(server, "_wait_ready", lambda *_: before())
        return server.start(file.parent, file)

    monkeypatch.setattr(server, "vllm_distribution", lambda: "vllm")
    monkeypatch.setattr(server, "_spawn", spawn)
    monkeypatch.setattr(server, "model_hash", lambda _: "hash")
    yield started
    for process in begun:
        process.kill()
        process.wait()


def test_of_two_that_start_a_server_at_once_one_is_told_to_wait(file: Path, start: Start) -> None:
    def another() -> None:
        with pytest.raises(ModelError, match="another process is starting"):
            server.start(file.parent, file)

    record = start(another)
    assert server.status(file) == record
    assert server.stop(file)
    assert server.status(file) is None


def test_a_server_whose_start_was_killed_is_ended_by_the_next(file: Path, start: Start) -> None:
    child = os.fork()
    if child == 0:
        start(lambda: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = psutil.Process(json.loads(file.with_suffix(".starting").read_bytes())["pid"])
    assert left.is_running()
    record = start(lambda: None)
    assert record.pid != left.pid
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    assert server.status(file) == record
    assert sorted(path.suffix for path in file.parent.iterdir()) == [".json", ".key", ".lock"]


def test_a_server_is_known_again_after_the_clock_was_put_right(
    file: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = start(lambda: None)
    before = psutil.boot_time()
    # Linux counts from the machine's start, and puts that elsewhere with the clock.
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: before + 3600)
    assert server.status(file) == record
