"""A home whose vectors a Chroma server keeps, by the address in its `srec.toml`."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from mllm_srec.store.errors import IndexMismatch, StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.manifest import IndexFacts

FACTS = IndexFacts("srec-tiny", "m1", "p1", "i1", 4)
ROWS = np.eye(4, dtype=np.float32)
START_S = 60.0


@dataclass(frozen=True)
class Server:
    url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """`chroma run` on a free port of this machine."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = Path(sys.executable).with_name("chroma")
    address = ("--host", "127.0.0.1", "--port", port)
    command: list[str | Path] = [program, "run", "--path", folder, *address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            server = Server(f"http://127.0.0.1:{port}", process)
            deadline = time.monotonic() + START_S
            while not _answers(server.url):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield server
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/heartbeat").is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("chroma")) as server:
        yield server


def home(path: Path, url: str) -> Home:
    path.mkdir(exist_ok=True)
    (path / "srec.toml").write_text(f'chroma_url = "{url}"\n')
    return Home.open(path, create=True)


def test_vectors_are_kept_on_the_server_and_found_again(chroma: Server, tmp_path: Path) -> None:
    with home(tmp_path / "home", chroma.url) as opened:
        index = opened.representations
        index.use(FACTS)
        index.put(["a", "b", "c", "d"], ROWS)
        index.delete(["d"])
        assert opened.vectors_place == f"at {chroma.url.removeprefix('http://')}"
    with Home.open(tmp_path / "home") as opened:
        index = opened.representations
        index.use(FACTS)
        assert index.ids() == {"a", "b", "c"}
        assert index.nearest(ROWS[1], 1)[0][0] == "b"
        assert np.allclose(index.vectors(["c"])["c"], ROWS[2])
        index.compact()
        assert index.count() == 3
        assert index.rebuild(FACTS, [(["d"], ROWS[3:])]) == 1
        assert index.ids() == {"d"}
    assert not [*(tmp_path / "home" / "vectors").glob("g*/*")]


def test_homes_on_one_server_do_not_meet(chroma: Server, tmp_path: Path) -> None:
    with home(tmp_path / "1", chroma.url) as one, home(tmp_path / "2", chroma.url) as two:
        for place, each in enumerate((one, two)):
            each.representations.use(FACTS)
            each.representations.put([str(place)], ROWS[:1])
        assert (one.representations.ids(), two.representations.ids()) == ({"0"}, {"1"})


def test_a_home_may_change_over_by_a_rebuild(chroma: Server, tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", create=True) as opened:
        opened.representations.use(FACTS)
        opened.representations.put(["a"], ROWS[:1])
    with home(tmp_path / "home", chroma.url) as opened:
        with pytest.raises(IndexMismatch, match="srec index rebuild"):
            opened.representations.ids()
        opened.representations.rebuild(FACTS, [(["a"], ROWS[:1])])
        assert opened.representations.ids() == {"a"}


def test_a_server_that_goes_away_is_a_clear_error_and_its_vectors_stay(tmp_path: Path) -> None:
    with running(tmp_path / "chroma") as server:
        opened = home(tmp_path / "home", server.url)
        opened.representations.use(FACTS)
        opened.representations.put(["a"], ROWS[:1])
        server.process.kill()
        server.process.wait()
        with pytest.raises(StoreError, match="Chroma server does not answer any more"):
            opened.representations.count()
        opened.close()
    with running(tmp_path / "chroma") as server, home(tmp_path / "home", server.url) as opened:
        assert opened.representations.ids() == {"a"}
