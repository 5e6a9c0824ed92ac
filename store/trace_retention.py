"""What of the traces stays: limits by age, count and size, deletion, and giving disk back."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from mllm_srec.store.records import DAY_S
from mllm_srec.store.sqlite_files import disk_bytes
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.traces import TraceStore

DAY_NS = DAY_S * 10**9
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much is kept; None sets no limit."""

    days: float | None = None
    """Age of a run, by its start."""
    count: int | None = None
    """Runs."""
    mib: float | None = None
    """Size of the file in MiB, free pages apart."""

    def __post_init__(self) -> None:
        """Refuse limits below zero."""
        for name in ("days", "count", "mib"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"retention {name} {value!r}: give zero or more")


def expired(store: TraceStore, retention: Retention, *, now_ns: int) -> list[bytes]:
    """Ids of the runs beyond a limit, oldest first. By size, all count as equally large.

    Raises:
        TraceError: The file cannot be read.
    """
    runs = store.rows(
        "SELECT trace_id, start_ns FROM spans WHERE parent_id IS NULL ORDER BY start_ns, id"
    )
    drop = 0
    if retention.days is not None:
        drop = sum(start_ns < now_ns - retention.days * DAY_NS for _, start_ns in runs)
    if retention.count is not None:
        drop = max(drop, len(runs) - retention.count)
    if retention.mib is not None and (size := used_bytes(store)) > retention.mib * MIB:
        drop = max(drop, math.ceil(len(runs) * (1 - retention.mib * MIB / size)))
    return [bytes(trace_id) for trace_id, _ in runs[:drop]]


def delete(store: TraceStore, trace_ids: Collection[bytes]) -> None:
    """Delete traces with all that only they need: spans, words, annotations, pictures.

    Raises:
        TraceError: The file cannot be written.
    """
    with store.writing() as connection:
        for trace_id in trace_ids:
            connection.execute(
                "DELETE FROM words WHERE rowid IN "
                "(SELECT id FROM spans WHERE trace_id = ? AND parent_id IS NULL)",
                (trace_id,),
            )
            blobs = store.rows("SELECT blob FROM uses WHERE trace_id = ?", trace_id)
            for table in ("spans", "annotations", "uses"):
                connection.execute(f"DELETE FROM {table} WHERE trace_id = ?", (trace_id,))
            connection.executemany(
                "DELETE FROM blobs WHERE id = ? AND NOT EXISTS "
                "(SELECT 1 FROM uses WHERE blob = blobs.id)",
                blobs,
            )
    store.forget()


def scrub(store: TraceStore, user: str) -> int:
    """Delete every trace of a user so that no byte of them stays; returns how many there were.

    Raises:
        TraceError: The file cannot be written, or another process is writing.
    """
    found = find(store, TraceFilter(user=user))
    if found:
        delete(store, [bytes.fromhex(root.trace_id) for root in found])
        compact(store)
    return len(found)


def compact(store: TraceStore) -> tuple[int, int]:
    """Drop what no trace needs, and give free pages back to the disk.

    Returns:
        Bytes on disk before and after.

    Raises:
        TraceError: Another process is writing.
    """
    before = disk_bytes(store.path)
    with store.writing() as connection:
        connection.execute("DELETE FROM blobs WHERE id NOT IN (SELECT blob FROM uses)")
        # Merges the index, which until then holds the words of deleted runs.
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")
    store.forget()
    store.vacuum()
    return before, disk_bytes(store.path)


def used_bytes(store: TraceStore) -> int:
    """Bytes of the file that hold something."""
    [(pages,)], [(free,)], [(size,)] = (
        store.rows(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
