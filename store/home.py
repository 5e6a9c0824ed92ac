"""The home: one folder that holds everything of one deployment."""

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from mllm_srec.store.catalogue import Catalogue
from mllm_srec.store.checkpoints import delete_checkpoints
from mllm_srec.store.closing import Closing
from mllm_srec.store.database import claim, database_name
from mllm_srec.store.errors import HomeBusy, HomeError, StoreError
from mllm_srec.store.feedback import FeedbackStore
from mllm_srec.store.files import disk_errors, owner_only, private_folder, write_private
from mllm_srec.store.home_mark import check_format, home_folder, is_home, make_home
from mllm_srec.store.home_settings import HomeSettings, read_home_settings
from mllm_srec.store.pictures import PictureStore
from mllm_srec.store.records import Item, Representation
from mllm_srec.store.representations import RepresentationIndex
from mllm_srec.store.steps import StepCache
from mllm_srec.store.threads import ThreadStore
from mllm_srec.store.trace_retention import scrub
from mllm_srec.store.trace_settings import names_of
from mllm_srec.store.traces import TraceStore

_CATALOGUE = "catalogue.sqlite"
TRACES_FILE = Path("traces", "traces.sqlite")
"""Where in a home the traces are."""

_Member = TypeVar("_Member", Catalogue, FeedbackStore, RepresentationIndex, StepCache, ThreadStore)


class Home(Closing):
    """An open home. Members open when first used; `close` closes what was opened.

    Everything that reads may run beside one writer. What writes does so under `lock`, which the
    members take themselves.
    """

    def __init__(
        self,
        path: Path,
        *,
        database_url: str | None = None,
        chroma_url: str | None = None,
        model: str | None = None,
    ) -> None:
        self.path = path
        self.model = model
        """Folder or name of the model that its `srec.toml` names."""
        self._database_url = database_url
        self._chroma_url = chroma_url
        self._opened = ExitStack()
        self._file_lock = FileLock(path / "lock", mode=0o600, blocking=False, thread_local=False)
        self._lock_guard = threading.RLock()
        # The lock of the home lets all threads in.
        self._describing = threading.Lock()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = False,
        database_url: str | None = None,
        chroma_url: str | None = None,
    ) -> Self:
        """Open a home.

        Args:
            path: Its folder.
            create: Make one where there is none; an empty folder becomes a home.
            database_url: SQLAlchemy address of a PostgreSQL database; by default that in the
                home's `srec.toml`, else SQLite files in the home.
            chroma_url: Address of a Chroma server; by default that in the home's `srec.toml`, else
                Chroma is embedded in the home.

        Raises:
            HomeError: The folder is missing, is not a home, is one of a newer version, cannot be
                read or made, or its `srec.toml` is wrong.
        """
        folder = home_folder(path)
        try:
            settings = _enter(folder, create=create)
        except OSError as error:
            raise HomeError(
                f"the home {str(folder)!r} cannot be opened ({error.strerror}): give --home a "
                "folder in which you may write"
            ) from error
        url = database_url or settings.database_url
        if url and (folder / _CATALOGUE).exists():
            raise HomeError(
                f"the home {str(folder)!r} keeps its shop in {_CATALOGUE!r}, and its database "
                "cannot change: make a new home for PostgreSQL"
            )
        return cls(
            folder,
            database_url=url,
            chroma_url=chroma_url or settings.chroma_url,
            model=settings.model,
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one writer for the length of the block; blocks may nest, also across threads.

        Raises:
            HomeBusy: Another process is the writer.
            HomeError: Nobody may write there.
            StoreError: The disk is full.
        """
        writer = self.path / "writer.json"
        with self._lock_guard:
            try:
                with disk_errors(writer):
                    self._file_lock.acquire()
            except Timeout as error:
                raise HomeBusy(self._busy()) from error
            except OSError as error:
                raise HomeError(
                    f"the home {str(self.path)!r} cannot be written to ({error.strerror}: "
                    f"{error.filename!r}): make it writable, or give another --home"
                ) from error
            # A courtesy to whoever has to wait; it must not fail the writer.
            with suppress(OSError), open(writer, "w", opener=owner_only) as file:
                json.dump({"pid": os.getpid()}, file)
        try:
            yield
        finally:
            with self._lock_guard:
                if self._file_lock.lock_counter == 1:
                    writer.unlink(missing_ok=True)
                self._file_lock.release()

    @property
    def database(self) -> str:
        """The database in words, without a password."""
        return database_name(self._database_url) if self._database_url else "SQLite, in the home"

    @property
    def vectors_place(self) -> str:
        """Where Chroma keeps the vectors, in words, without a password."""
        if self._chroma_url is None:
            return "in the home"
        return f"at {urlsplit(self._chroma_url).netloc.rpartition('@')[2]}"

    @cached_property
    def catalogue(self) -> Catalogue:
        """Items, interactions and descriptions, in SQL."""
        url = self._address(self.path / _CATALOGUE)
        return self._closing(Catalogue.open(url, lock=self.lock))

    @cached_property
    def pictures(self) -> PictureStore:
        """The pictures of the items."""
        return PictureStore(private_folder(self.path / "pictures"))

    @cached_property
    def representations(self) -> RepresentationIndex:
        """The vectors of the items, in Chroma."""
        folder = private_folder(self.path / "vectors")
        return self._closing(
            RepresentationIndex(folder, lock=self.lock, chroma_url=self._chroma_url)
        )

    @cached_property
    def steps(self) -> StepCache:
        """What the model answered before, by content hash."""
        return self._closing(StepCache.open(self._address(self.path / "steps.sqlite")))

    @cached_property
    def feedback(self) -> FeedbackStore:
        """What users want more of, less of, and never again."""
        return self._closing(FeedbackStore.open(self._address(self.path / "feedback.sqlite")))

    @cached_property
    def threads(self) -> ThreadStore:
        """The conversations: threads and turns."""
        url = self._address(self.conversations_path / "threads.sqlite")
        return self._closing(ThreadStore.open(url))

    @property
    def conversations_path(self) -> Path:
        """The folder of the conversations."""
        return private_folder(self.path / "conversations")

    @property
    def checkpoints_url(self) -> str:
        """The SQLAlchemy address of the working memory of the conversations."""
        return self._address(self.conversations_path / "checkpoints.sqlite")

    @property
    def traces_file(self) -> Path:
        """The SQLite file of the traces, in a folder that is there; the file may be missing."""
        return private_folder(self.path / TRACES_FILE.parent) / TRACES_FILE.name

    @property
    def rejects_path(self) -> Path:
        """The folder of the reject files."""
        return private_folder(self.path / "rejects")

    @property
    def server_file(self) -> Path:
        """Where a running model server is recorded; the file may be missing."""
        return self.path / "server.json"

    def read_setting(self, name: str) -> dict[str, Any] | None:
        """A setting by name, None where it was never written.

        Raises:
            StoreError: The stored setting is not a JSON object.
        """
        path = self._setting(name)
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(f"the setting {str(path)!r} is broken: delete the file") from error
        if not isinstance(value, dict):
            raise StoreError(f"the setting {str(path)!r} is no JSON object: delete the file")
        return value

    def write_setting(self, name: str, value: dict[str, Any]) -> None:
        """Replace a setting; a reader sees the old value or the new one."""
        private_folder(self.path / "settings")
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
        write_private(self._setting(name), text.encode())

    def describe(
        self,
        items: Sequence[Item],
        descriptions: Sequence[Representation],
        vectors: NDArray[np.float32],
    ) -> None:
        """Keep the descriptions (N) and vectors (N, D) of items (N).

        Of an item that was changed or deleted since it was read, nothing is kept: its description
        would tell of what is no more.
        """
        with self.lock(), self._describing:
            known = self.catalogue.items(item.item_id for item in items)
            rows = [row for row, item in enumerate(items) if known.get(item.item_id) == item]
            # The vector first: a kill in between leaves an item that is described again.
            self.representations.put([items[row].item_id for row in rows], vectors[rows])
            self.catalogue.put_representations(descriptions[row] for row in rows)

    def delete_item(self, item_id: str) -> bool:
        """Delete an item, its interactions, description and vector; False if it was not there.

        Its picture stays: other items may have the same.
        """
        with self.lock(), self._describing:
            self.representations.delete([item_id])
            return self.catalogue.delete_item(item_id)

    def delete_user(self, user_id: str) -> int:
        """Delete what the home holds of a user; the number of interactions deleted.

        Of the pictures that the user gave, those stay that another user gave, too, or that an item
        has.

        Raises:
            HomeBusy: Another process writes to the home, or a conversation of the user is open,
                which would go on writing: nothing was deleted.
        """
        threads = [thread.thread_id for thread in self.threads.of(user_id)]
        with self.lock(), self._held(threads):
            given = self.pictures.given_by(user_id)
            self.pictures.forget(user_id, keep=self.catalogue.pictured(given))
            self.feedback.delete_user(user_id)
            for thread_id in threads:
                self._delete_thread(thread_id)
            for name in self._scrub_traces(user_id):
                self.steps.delete_owner(name)
            return self.catalogue.delete_user(user_id)

    def thread_lock(self, thread_id: str) -> FileLock:
        """The lock that whoever has a conversation open holds."""
        path = self.conversations_path / f"{thread_id}.lock"
        return FileLock(path, mode=0o600, blocking=False, thread_local=False)

    def delete_thread(self, thread_id: str) -> bool:
        """Delete a conversation with its working memory; False where there was none.

        Raises:
            HomeBusy: Somebody has it open, here or in another process.
        """
        with self._held([thread_id]):
            return self._delete_thread(thread_id)

    @contextmanager
    def _held(self, thread_ids: Iterable[str]) -> Iterator[None]:
        """Hold the locks of conversations while these are deleted, and delete them, too."""
        with ExitStack() as held:
            locks = []
            for thread_id in thread_ids:
                try:
                    locks.append(held.enter_context(self.thread_lock(thread_id)))
                except Timeout as error:
                    raise HomeBusy(
                        f"the thread {thread_id!r} is open: close the conversation first"
                    ) from error
            yield
            for lock in locks:
                Path(lock.lock_file).unlink()

    def _delete_thread(self, thread_id: str) -> bool:
        delete_checkpoints(self.checkpoints_url, thread_id)
        return self.threads.delete(thread_id)

    def _scrub_traces(self, user_id: str) -> list[str]:
        """Delete the traces of a user; the names under which they, and forks of them, ran."""
        if not self.traces_file.exists():
            return [user_id]
        with TraceStore.open(self.traces_file) as traces:
            scrub(traces, user_id)
            return names_of(traces, user_id)

    def close(self) -> None:
        """Close every member that was opened."""
        self._opened.close()

    def _address(self, file: Path) -> str:
        """The SQLAlchemy address of a store: the server's database, else a file of its own.

        Raises:
            HomeError: The server's database is another home's.
        """
        return self._claimed or f"sqlite:///{file}"

    @cached_property
    def _claimed(self) -> str | None:
        if self._database_url is not None:
            claim(self._database_url, self.path)
        return self._database_url

    def _closing(self, member: _Member) -> _Member:
        self._opened.callback(member.close)
        return member

    def _setting(self, name: str) -> Path:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise ValueError(f"setting {name!r}: use lower-case letters, digits, - and _")
        return self.path / "settings" / f"{name}.json"

    def _busy(self) -> str:
        try:
            pid = json.loads((self.path / "writer.json").read_bytes())["pid"]
        except (OSError, ValueError, KeyError):
            # The writer has not said who it is yet, or has just left.
            return f"another process writes to {str(self.path)!r}: try again when it is done"
        return f"process {pid} writes to {str(self.path)!r}: try again when it is done"


def _enter(folder: Path, *, create: bool) -> HomeSettings:
    """Make the folder a home where it may be, and read what stands in it."""
    if not is_home(folder):
        if not create:
            raise HomeError(f"no home at {str(folder)!r}: make one with `srec ingest --home`")
        make_home(folder)
    check_format(folder)
    private_folder(folder)
    return read_home_settings(folder)
