"""An SQLite file opened a second time in a process keeps the locks of the first.

POSIX takes a process's locks on a file away when it closes any descriptor of the file. Another
process would then take the log from under an open store: what it writes is lost, or it dies.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from mllm_srec.agent.conversation.checkpoints import open_saver
from mllm_srec.store.threads import ThreadStore
from mllm_srec.store.traces import TraceStore

HELD = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, int(sys.argv[3]), int(sys.argv[2]))
    except BlockingIOError:
        print("held")
"""
"""Whether another process holds locks on bytes of a file: its path, where they begin, how many."""


@contextmanager
def traces(path: Path) -> Iterator[None]:
    with TraceStore.open(path):
        yield


@contextmanager
def threads(path: Path) -> Iterator[None]:
    store = ThreadStore.open(f"sqlite:///{path}")
    try:
        store.all()
        yield
    finally:
        store.close()


@contextmanager
def checkpoints(path: Path) -> Iterator[None]:
    with asyncio.Runner() as runner:
        saver = runner.run(open_saver(f"sqlite:///{path}"))
        try:
            yield
        finally:
            runner.run(saver.conn.close())


@pytest.mark.parametrize("opened", [traces, threads, checkpoints])
def test_a_file_opened_twice_keeps_its_locks(
    opened: Callable[[Path], AbstractContextManager[None]], tmp_path: Path
) -> None:
    path = tmp_path / "file.sqlite"

    def held() -> list[str]:
        # Where SQLite locks: the shared range of the file, and one byte of the log's index.
        places = [(path, 0x40000002, 510), (path.with_name(f"{path.name}-shm"), 128, 1)]
        return [
            subprocess.run(
                [sys.executable, "-c", HELD, *map(str, place)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for place in places
        ]

    with opened(path):
        assert held() == ["held\n", "held\n"]
        with opened(path):
            pass
        assert held() == ["held\n", "held\n"]
