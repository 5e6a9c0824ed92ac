"""What a deployment holds, and that it lets all of it go."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mllm_srec.agent.deployment import Deployment
from mllm_srec.llm.engine import Message, ModelError, Prompt
from mllm_srec.llm.load import Loaded
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from mllm_srec.store.traces import TraceError

from .shop import MODEL, fill, work_until_stopped

PATIENCE_S = 60
QUESTION = Prompt((Message("user", "What is it?"),))


def held(folder: Path) -> list[str]:
    """Files of a folder that this process has open."""
    opened = [file.path for file in psutil.Process().open_files()]
    return [path for path in opened if Path(path).is_relative_to(folder)]


def loops() -> int:
    return sum(thread.name == "graph" for thread in threading.enumerate())


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedEngine], None]:
    """Makes an engine the one that is loaded, and so closed."""

    def answers(engine: ScriptedEngine) -> None:
        monkeypatch.setattr(
            "mllm_srec.agent.deployment.load_engine", lambda *_, **__: Loaded(engine, None)
        )

    return answers


def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    with Home.open(tmp_path, create=True) as home:
        home.traces_file.write_text("mine" * 1_000)
    before = loops()
    with pytest.raises(TraceError) as refused:
        Deployment.open(tmp_path, model=MODEL)
    assert (loops(), held(tmp_path)) == (before, []), refused


def test_a_home_is_closed_again_where_the_model_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Home.open(tmp_path, create=True).close()
    closed: list[Path] = []
    monkeypatch.setattr(Home, "close", lambda home: closed.append(home.path))
    with pytest.raises(ModelError):
        Deployment.open(tmp_path, model=tmp_path / "nowhere")
    assert closed == [tmp_path]


def test_the_engine_is_closed_after_its_last_call_has_ended(
    tmp_path: Path, load: Callable[[ScriptedEngine], None]
) -> None:
    begun, stopped = threading.Event(), threading.Event()
    happened: list[str] = []

    def slow_to_stop(prompt: Prompt) -> str:
        try:
            return work_until_stopped(begun, stopped)
        finally:
            time.sleep(0.2)
            happened.append("the call ended")

    class Engine(ScriptedEngine):
        def close(self) -> None:
            happened.append("the engine was closed")

    load(Engine(answer=slow_to_stop))
    with Deployment.open(tmp_path, create=True, model=MODEL) as deployment:
        deployment.start(deployment.calls.generate([QUESTION], max_tokens=9))
        assert begun.wait(PATIENCE_S)
    assert happened == ["the call ended", "the engine was closed"]


def test_an_engine_that_does_not_close_leaves_nothing_open(
    tmp_path: Path, load: Callable[[ScriptedEngine], None]
) -> None:
    class Stuck(ScriptedEngine):
        def close(self) -> None:
            raise RuntimeError("it does not close")

    load(Stuck())
    deployment = Deployment.open(tmp_path, create=True, model=MODEL)
    fill(deployment.home)
    assert deployment.info.engine == "scripted"
    with pytest.raises(RuntimeError, match="does not close"):
        deployment.close()
    assert held(tmp_path) == []
    deployment.close()
