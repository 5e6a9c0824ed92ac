"""Intake: a shop's files into a home, whole or not at all."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mllm_srec.store.catalogue import Catalogue
from mllm_srec.store.errors import BadPicture, InputError
from mllm_srec.store.fields import shown
from mllm_srec.store.files import write_private
from mllm_srec.store.histories import merge, missing_times
from mllm_srec.store.home import Home
from mllm_srec.store.pictures import PictureStore, read_inside
from mllm_srec.store.readers import (
    InteractionRow,
    ItemRow,
    Reject,
    read_interactions,
    read_items,
)
from mllm_srec.store.records import Interaction, Item
from mllm_srec.store.sql import chunks

_SAYING = ("title", "description", "brand", "categories", "keywords")
"""Fields of an item that a description can be made of."""

_YEARS = range(1900, 2100)
"""What are years where a log has nothing else for times: as seconds, all of them lie in the first
hour of 1970."""

Progress = Callable[[str, int, int | None], None]
"""Called as `progress(stage, done, total)`: rows or pictures of a stage so far (`items`,
`interactions`, `pictures`, `writing` or `done`), and how many there will be where that is known."""


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """What an intake took and what it did not; the same for a run that was killed and repeated."""

    items: int
    """Items taken from the file."""
    interactions: int
    """Interactions taken from the file."""
    users: int
    """Users of these interactions."""
    repeats: int
    """Further rows of a user with an item, of which the first is taken."""
    partly_timed_users: int
    """Users whose times do not count, as only some of their rows have one."""
    untimed_rows: int
    """Rows of these users without a time."""
    rejected: int
    """Rows of both files that were bad."""
    pictures_rejected: int
    """Items taken without the picture that the file names."""
    texts_cut: int
    """Texts taken in part, such as titles over 2,000 characters."""
    items_left_out: int
    """Good items that `limit_items` left out."""
    interactions_left_out: int
    """Good interactions with these items."""
    reject_file: Path | None
    """Every rejected row, rejected picture and cut, one JSON object a line; None without any."""
    unread: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """File to the names of the fields in it that are not read."""

    @property
    def left_out(self) -> int:
        """Good rows of both files that `limit_items` left out."""
        return self.items_left_out + self.interactions_left_out


@dataclass(slots=True)
class _Shop:
    """What the files hold, before anything is written."""

    items: dict[str, ItemRow] = field(default_factory=dict)
    log: list[InteractionRow] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    unread: dict[str, set[str]] = field(default_factory=dict)
    repeats: int = 0
    items_left_out: int = 0
    interactions_left_out: int = 0


def check_files(
    items: Path, interactions: Path | None = None, images: Path | None = None, *, now: float
) -> None:
    """Refuse files that cannot be read at all, by their beginning: before a home is made for them.

    Args:
        items: As in `load_shop`, like all others.
        interactions: May be None.
        images: May be None.
        now: Seconds since 1970.

    Raises:
        InputError: A file cannot be read, or `images` is no folder.
    """
    if images is not None and not images.is_dir():
        raise InputError(f"--images {str(images)!r} is no folder: name that of the pictures")
    if not _is_pipe(items):
        next(read_items(items))
    if interactions is not None and not _is_pipe(interactions):
        next(read_interactions(interactions, now=now))


def _is_pipe(path: Path) -> bool:
    """Whether it can be read once only; what cannot be found is told by whoever reads it."""
    try:
        return path.is_fifo()
    except OSError:
        return False


def load_shop(
    home: Home,
    *,
    items: Path,
    interactions: Path | None = None,
    images: Path | None = None,
    limit_items: int | None = None,
    max_bad_share: float = 0.5,
    now: float,
    progress: Progress = lambda stage, done, total: None,
) -> IntakeReport:
    """Take a shop's files into a home.

    Items and interactions are written in one transaction, after all pictures: killed at any
    moment and run again, it ends with the same content. Items and interactions that are there
    already are replaced by those of the file; others stay.

    Args:
        home: Where to.
        items: JSON lines, CSV or Parquet.
        interactions: The same; None takes items alone.
        images: The folder under which the items' pictures lie, which is there; that of `items` by
            default.
        limit_items: Take so many items only, those with the most interactions.
        max_bad_share: Stop when a larger share of the rows of a file is bad, 0 to 1.
        now: Seconds since 1970; later interactions are rejected.
        progress: Told how far it is.

    Raises:
        HomeBusy: Another process writes to the home.
        InputError: A file cannot be taken; nothing was written.
        StoreError: The disk is full.
    """
    with home.lock():
        catalogue = home.catalogue
        _sweep(home)
        shop = _Shop()
        _take_items(shop, items, max_bad_share, progress)
        if interactions is not None:
            known = shop.items.keys() | set(catalogue.item_ids())
            _take_log(shop, interactions, known, max_bad_share, now, progress)
        if limit_items is not None:
            _limit(shop, limit_items)
        taken = _with_pictures(shop, home.pictures, items, images or items.parent, progress)
        _write(catalogue, taken, shop.log, progress)
        report = _report(shop, _write_rejects(home.rejects_path, shop.rejects, now))
        progress("done", report.items, report.items)
    return report


def _sweep(home: Home) -> None:
    """Remove what a killed intake left half written."""
    home.pictures.sweep()
    for path in home.rejects_path.glob("*.partial"):
        path.unlink()


def _take_items(shop: _Shop, path: Path, max_bad_share: float, progress: Progress) -> None:
    rows, bad = 0, list[Reject]()
    unread = shop.unread.setdefault(str(path), set())
    for rows, row in enumerate(read_items(path, unread=unread), 1):
        if isinstance(row, Reject):
            bad.append(row)
        elif row.item.item_id in shop.items:
            first = shop.items[row.item.item_id].line
            reason = f"duplicate of line {first}: {shown(row.item.item_id)}"
            bad.append(Reject(str(path), row.line, "item_id", reason))
        else:
            shop.items[row.item.item_id] = row
        if rows % 1_000 == 0:
            progress("items", rows, None)
    progress("items", rows, rows)
    _stop_if_bad(path, rows, bad, max_bad_share)
    if shop.items and not any(map(_says_something, shop.items.values())):
        raise InputError(
            f"{str(path)!r} says nothing that describes its items: call its fields "
            f"{', '.join(map(repr, _SAYING))} or 'image'"
        )
    shop.rejects += bad
    shop.rejects += [
        Reject(str(path), row.line, name, f"cut from {size}", "cut")
        for row in shop.items.values()
        for name, size in row.cut
    ]


def _says_something(row: ItemRow) -> bool:
    return row.image is not None or any(getattr(row.item, name) for name in _SAYING)


def _take_log(
    shop: _Shop,
    path: Path,
    known: set[str],
    max_bad_share: float,
    now: float,
    progress: Progress,
) -> None:
    rows, bad = 0, list[Reject]()
    unread = shop.unread.setdefault(str(path), set())
    taken = set[tuple[str, str]]()
    for rows, row in enumerate(read_interactions(path, now=now, unread=unread), 1):
        if isinstance(row, Reject):
            bad.append(row)
        elif row.item_id not in known:
            reason = f"no such item: {shown(row.item_id)}"
            bad.append(Reject(str(path), row.line, "item_id", reason))
        elif (row.user_id, row.item_id) in taken:
            shop.repeats += 1
        else:
            taken.add((row.user_id, row.item_id))
            shop.log.append(row)
        if rows % 10_000 == 0:
            progress("interactions", rows, None)
    progress("interactions", rows, rows)
    _stop_if_bad(path, rows, bad, max_bad_share)
    times = [row.timestamp for row in shop.log if row.timestamp is not None]
    if times and all(time in _YEARS for time in times):
        raise InputError(
            f"{str(path)!r} has years for times, such as {times[0]}: write days, as "
            f"{times[0]}-01-31, or seconds since 1970; an order without times is a 'position'"
        )
    shop.rejects += bad


def _stop_if_bad(path: Path, rows: int, bad: list[Reject], max_bad_share: float) -> None:
    if len(bad) > max_bad_share * rows:
        first = "; ".join(
            f"line {one.line}{f', {one.field}' if one.field else ''}: {one.reason}"
            for one in bad[:3]
        )
        raise InputError(
            f"{len(bad):,} of {rows:,} rows of {str(path)!r} are bad, more than the share of "
            f"{max_bad_share:g} that is allowed (--max-bad-share); nothing was written. {first}"
        )


def _limit(shop: _Shop, limit: int) -> None:
    used = Counter(row.item_id for row in shop.log)
    # The sort is stable: of items used equally often the first in the file stay.
    order = sorted(shop.items, key=lambda item_id: -used[item_id])
    gone = set(order[limit:])
    shop.items = {item_id: row for item_id, row in shop.items.items() if item_id not in gone}
    kept = [row for row in shop.log if row.item_id not in gone]
    shop.items_left_out = len(gone)
    shop.interactions_left_out = len(shop.log) - len(kept)
    shop.log = kept


def _with_pictures(
    shop: _Shop, pictures: PictureStore, path: Path, folder: Path, progress: Progress
) -> list[Item]:
    total = sum(row.image is not None for row in shop.items.values())
    taken: list[Item] = []
    seen = 0

    def take(row: ItemRow) -> str | BadPicture | None:
        if row.image is None:
            return None
        try:
            return _picture(pictures, folder, row.image)
        except BadPicture as error:
            return error

    # Decoding leaves the interpreter lock.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for rows in chunks(shop.items.values(), 256):
            for row, key in zip(rows, pool.map(take, rows), strict=True):
                seen += row.image is not None
                if isinstance(key, BadPicture):
                    reason = f"{shown(row.image)}: {key}"
                    shop.rejects.append(Reject(str(path), row.line, "image", reason, "picture"))
                    key = None
                taken.append(row.item.model_copy(update={"picture": key}))
            if total:
                progress("pictures", seen, total)
    return taken


def _picture(pictures: PictureStore, folder: Path, image: object) -> str:
    if not isinstance(image, str):
        raise BadPicture(f"expected a path, got {type(image).__name__}")
    return pictures.add(read_inside(folder, image))


def _write(
    catalogue: Catalogue, items: list[Item], log: list[InteractionRow], progress: Progress
) -> None:
    total = len(items) + len(log)
    done = 0

    def wrote(rows: int) -> None:
        nonlocal done
        done += rows
        # Rows of the file; a history that grows is written anew as a whole.
        progress("writing", min(done, total), total)

    catalogue.put_shop(items, _histories(catalogue, log), wrote=wrote)


def _histories(catalogue: Catalogue, log: list[InteractionRow]) -> Iterator[Interaction]:
    by_user = _by_user(log)
    stored = catalogue.histories(by_user) if catalogue.interaction_count() else {}
    for user_id in sorted(by_user):
        yield from merge(stored.get(user_id, []), by_user[user_id])


def _by_user(log: list[InteractionRow]) -> dict[str, list[InteractionRow]]:
    by_user: dict[str, list[InteractionRow]] = {}
    for row in log:
        by_user.setdefault(row.user_id, []).append(row)
    return by_user


def _write_rejects(folder: Path, rejects: list[Reject], now: float) -> Path | None:
    if not rejects:
        return None
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    path = folder / f"ingest-{moment}.jsonl"
    text = "".join(json.dumps(asdict(reject)) + "\n" for reject in rejects)
    write_private(path, text.encode())
    return path


def _report(shop: _Shop, reject_file: Path | None) -> IntakeReport:
    by_user = _by_user(shop.log)
    untimed = [missing for rows in by_user.values() if (missing := missing_times(rows))]
    kinds = Counter(reject.kind for reject in shop.rejects)
    return IntakeReport(
        items=len(shop.items),
        interactions=len(shop.log),
        users=len(by_user),
        repeats=shop.repeats,
        partly_timed_users=len(untimed),
        untimed_rows=sum(untimed),
        rejected=kinds["row"],
        pictures_rejected=kinds["picture"],
        texts_cut=kinds["cut"],
        items_left_out=shop.items_left_out,
        interactions_left_out=shop.interactions_left_out,
        reject_file=reject_file,
        unread={
            file: tuple(sorted(map(str, names))) for file, names in shop.unread.items() if names
        },
    )
