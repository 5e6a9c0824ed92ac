"""What is told of the server of a home."""

from datetime import datetime
from pathlib import Path

import psutil
import pytest

from mllm_srec.agent import serving
from mllm_srec.llm import server
from mllm_srec.store.home import Home


def test_when_a_server_started_is_told_as_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    Home.open(home, create=True).close()
    this = psutil.Process()
    record = server.ServerRecord(
        pid=this.pid,
        started=server.started(this),
        port=9,
        model="/m/tiny",
        model_hash="ab",
        dtype="bfloat16",
    )
    monkeypatch.setattr(server, "status", lambda path: record)
    monkeypatch.setattr(server, "prefix_hit_rate", lambda server_file: 0.5)
    facts = serving.status(home)
    told = datetime.fromisoformat(facts["started"])
    assert told.timestamp() == pytest.approx(this.create_time(), abs=1.5)
    assert (facts["running"], facts["model"]) == (True, "tiny")
