"""The loop of `bench.feedback_loop`, with its commands and its engine scripted."""

import sys
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest

from bench import feedback_loop
from bench.domains.commands import Ran


def test_an_export_that_failed_is_made_again_without_judging_and_training_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def loop(*_: Any) -> dict[str, Any]:
        made.append("loop")
        return {"turns": 4}

    def srec(*words: str | Path) -> Ran:
        command = str(words[1])
        if command != "export":
            return Ran(1.0, {})
        made.append(command)
        if made.count("export") == 1:
            raise CalledProcessError(1, command)
        return Ran(1.0, {"folder": "model"})

    monkeypatch.setattr(feedback_loop, "srec", srec)
    monkeypatch.setattr(feedback_loop, "_loop", loop)
    monkeypatch.setattr(feedback_loop, "_figures", lambda *_: {"users": 2})
    monkeypatch.setattr(feedback_loop, "model_hash", str)
    words = ["--shop", "shop", "--model", "model", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["feedback_loop", *words])
    with pytest.raises(CalledProcessError):
        feedback_loop.main()
    for _ in range(2):
        assert feedback_loop.main() == 0
    assert made == ["loop", "export", "export"]
