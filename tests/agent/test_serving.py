"""What is told of the server of a home."""

from pathlib import Path

import pytest

from mllm_srec.agent import serving
from mllm_srec.llm import server
from mllm_srec.store.home import Home


def test_when_a_server_started_is_told_as_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    Home.open(home, create=True).close()
    record = server.ServerRecord(
        pid=7, started=1796014539.86, port=9, model="/m/tiny", model_hash="ab", dtype="bfloat16"
    )
    monkeypatch.setattr(server, "status", lambda path: record)
    monkeypatch.setattr(server, "prefix_hit_rate", lambda record: 0.5)
    facts = serving.status(home)
    assert facts["started"] == "2026-11-30 04:55:39+00:00"
    assert (facts["running"], facts["model"]) == (True, "tiny")
