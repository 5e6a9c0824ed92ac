"""Which conversations stay: by age and by number; and disk given back."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from mllm_srec.store.errors import HomeBusy
from mllm_srec.store.home import Home
from mllm_srec.store.records import DAY_S
from mllm_srec.store.sqlite_files import disk_bytes, vacuum_file
from mllm_srec.store.threads import Thread


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
        with suppress(HomeBusy):
            home.delete_thread(thread.thread_id)
            deleted.append(thread)
    return deleted


def compact(home: Home) -> tuple[int, int]:
    """Give free pages of the conversations' SQLite files back to the disk.

    Returns:
        Bytes on disk before and after; zeros for a home in PostgreSQL.

    Raises:
        StoreError: Another process is writing.
    """
    files = sorted(home.conversations_path.glob("*.sqlite"))
    before = sum(map(disk_bytes, files))
    for path in files:
        vacuum_file(path)
    return before, sum(map(disk_bytes, files))
