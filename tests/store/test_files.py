"""Files that a person names: what stands there already."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mllm_srec.store.files import write_private


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=write_private, args=(pipe, b"told"), daemon=True)
    writing.start()
    reading = os.open(pipe, os.O_RDWR)  # opens also where nobody writes
    writing.join(timeout=60)
    assert pipe.is_fifo()
    assert os.read(reading, 10) == b"told"
    os.close(reading)


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real", tmp_path / "link"
    real.write_bytes(b"before")
    link.symlink_to(real)
    write_private(link, b"after")
    assert link.is_symlink()
    assert real.read_bytes() == b"after"
    assert real.stat().st_mode & 0o077 == 0


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_private(tmp_path, b"told")
    assert list(tmp_path.iterdir()) == []


def test_threads_that_write_one_file_leave_it_whole(tmp_path: Path) -> None:
    path, contents = tmp_path / "model", [bytes([n]) * 50_000 for n in range(8)]
    with ThreadPoolExecutor(len(contents)) as threads:
        list(threads.map(lambda content: write_private(path, content), contents * 10))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
