"""A throw-away PostgreSQL server: its own folder, a socket and no port, gone with the tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

import psycopg

OLDEST = 15
"""The first version whose `initdb` takes an ICU locale."""
MISSING = f"no PostgreSQL server of version {OLDEST} or newer is installed"
PASSWORD = "planted-database-password"
START_S = 60.0
# ICU puts a before B, and Python does not: an order left to the database would show.
_LOCALE = ("--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8", "--encoding=UTF8")
_INIT = (*_LOCALE, "--no-sync", "--auth=scram-sha-256", "--username=srec")
# What a power cut would take is no loss here.
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB")
_GUARDED = ("setpriv", "--pdeathsig", "QUIT")
"""No server outlives a killed test."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    folder: Path
    """Where its socket is."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, *, password: str = PASSWORD) -> str:
        """The address of the one database."""
        return f"postgresql://srec:{password}@/postgres?host={quote(str(self.folder), safe='')}"

    def empty(self) -> str:
        """Make an empty schema; the address under which it alone is seen."""
        name = f"shop{next(self._numbers)}"
        self.do(f"CREATE SCHEMA {name}")
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def do(self, statement: str) -> None:
        """Run a statement."""
        with psycopg.connect(self.url()) as connection:
            connection.execute(statement.encode())

    def cut(self) -> None:
        """End all connections, as a restart of the server would."""
        self.do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
        )


def binaries() -> Path | None:
    """The programs of the newest server that will do, None where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += Path("/usr/lib/postgresql").glob("*/bin")
    versions = {_version(each): each for each in folders if (each / "postgres").exists()}
    return versions[max(versions)] if versions and max(versions) >= OLDEST else None


def _version(folder: Path) -> int:
    said = subprocess.run([folder / "postgres", "-V"], check=True, capture_output=True, text=True)
    return int(said.stdout.split()[2].partition(".")[0])


@contextmanager
def running(programs: Path) -> Iterator[Server]:
    """Start a server, and stop it."""
    # Not in pytest's folder: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="srec-pg-") as made:
        folder = Path(made)
        data, password, log = folder / "data", folder / "password", folder / "log"
        password.write_text(PASSWORD)
        rights = _rights(folder, password)
        init: list[str | Path] = [programs / "initdb", *_INIT, f"--pwfile={password}", data]
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **rights)
        only_a_socket = (f"unix_socket_directories={folder}", "listen_addresses=")
        options = [part for each in (*_FAST, *only_a_socket) for part in ("-c", each)]
        serve: list[str | Path] = [*_GUARDED, programs / "postgres", "-D", data, *options]
        with (
            log.open("wb") as out,
            subprocess.Popen(serve, stdout=out, stderr=out, cwd=folder, **rights) as process,
        ):
            try:
                yield _answering(Server(folder), process, log)
            finally:
                process.send_signal(signal.SIGQUIT)


class _Rights(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _rights(*paths: Path) -> _Rights:
    """What makes a process that of another account where we are root, whom the server refuses."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    for path in paths:
        os.chown(path, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _answering(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> Server:
    deadline = time.monotonic() + START_S
    while True:
        try:
            server.do("SELECT 1")
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from error
            time.sleep(0.05)
        else:
            return server
