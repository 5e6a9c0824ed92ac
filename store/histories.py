"""The order of what a user did: within one file, and when a later file adds to it."""

from collections.abc import Sequence

from mllm_srec.store.readers import InteractionRow
from mllm_srec.store.records import Interaction


def in_time_order(rows: Sequence[InteractionRow]) -> list[InteractionRow]:
    """One user's rows in time order: by position, else by time, else as the file has them.

    Equal ones keep the order of the file. A key counts only where every row has it.
    """
    positions = [row.position for row in rows if row.position is not None]
    times = [row.timestamp for row in rows if row.timestamp is not None]
    for keys in (positions, times):
        if len(keys) == len(rows):
            order = sorted(range(len(rows)), key=keys.__getitem__)
            return [rows[index] for index in order]
    return list(rows)


def missing_times(rows: Sequence[InteractionRow]) -> int:
    """How many of one user's rows lack a time, so that the times of the others do not count.

    0 where no row has a time, or positions decide.
    """
    if all(row.position is not None for row in rows):
        return 0
    missing = sum(row.timestamp is None for row in rows)
    return missing if missing < len(rows) else 0


def merge(stored: Sequence[Interaction], rows: Sequence[InteractionRow]) -> list[Interaction]:
    """One user's history after an ingest, positions 0, 1, 2, ...

    A file that has all that is stored decides the order. Otherwise what is new is added: by time
    where every interaction has one, else behind what is stored. So a file may be read twice, and
    files may be read one after the other, with the same end.
    """
    fresh = in_time_order(rows)
    by_item = {row.item_id: row for row in fresh}
    if all(one.item_id in by_item for one in stored):
        merged = fresh
    else:
        known = {one.item_id for one in stored}
        merged = [by_item.get(one.item_id) or _as_row(one) for one in stored]
        merged += [row for row in fresh if row.item_id not in known]
        if all(row.timestamp is not None for row in merged):
            merged.sort(key=lambda row: row.timestamp or 0)
    return [
        Interaction(
            user_id=row.user_id,
            item_id=row.item_id,
            position=position,
            rating=row.rating,
            timestamp=row.timestamp,
        )
        for position, row in enumerate(merged)
    ]


def _as_row(one: Interaction) -> InteractionRow:
    return InteractionRow(0, one.user_id, one.item_id, None, one.rating, one.timestamp)
