"""Which conversations stay: by age and by number; and disk given back."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from filelock import FileLock, Timeout

from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.threads import Thread

DAY_S = 86_400
BUSY_S = 30
"""Wait for another process that writes."""


def expired(
    threads: Iterable[Thread], *, days: float | None, count: int | None, now: float
) -> list[Thread]:
    """The threads that may not stay.

    Args:
        threads: Newest first.
        days: Begun more than so many days ago; None sets no limit.
        count: All but the newest so many of each user; None sets no limit.
        now: Seconds since 1970-01-01 UTC.
    """
    gone, of_user = list[Thread](), Counter[str]()
    for thread in threads:
        of_user[thread.user_id] += 1
        too_old = days is not None and thread.started < now - days * DAY_S
        too_many = count is not None and of_user[thread.user_id] > count
        if too_old or too_many:
            gone.append(thread)
    return gone


def delete_threads(home: Home, threads: Iterable[Thread]) -> list[Thread]:
    """Delete threads with their working memory; those that a chat has open stay.

    Returns:
        The deleted ones.
    """
    deleted = []
    for thread in threads:
        path = lock_path(home, thread.thread_id)
        try:
            with FileLock(path, mode=0o600, blocking=False):
                home.delete_thread(thread.thread_id)
                path.unlink()
        except Timeout:
            continue
        deleted.append(thread)
    return deleted


def lock_path(home: Home, thread_id: str) -> Path:
    """The file that whoever has a thread open keeps locked."""
    return home.conversations_path / f"{thread_id}.lock"


def compact(home: Home) -> tuple[int, int]:
    """Give free pages of the conversations' SQLite files back to the disk.

    Returns:
        Bytes on disk before and after; zeros for a home in PostgreSQL.

    Raises:
        StoreError: Another process is writing.
    """
    files = sorted(home.conversations_path.glob("*.sqlite"))
    before = sum(_disk_bytes(path) for path in files)
    for path in files:
        try:
            with closing(sqlite3.connect(path, timeout=BUSY_S)) as kept:
                kept.execute("VACUUM")
                kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StoreError(
                f"{path.name} could not be made smaller ({error}): close the chats, and try again"
            ) from error
    return before, sum(_disk_bytes(path) for path in files)


def _disk_bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
