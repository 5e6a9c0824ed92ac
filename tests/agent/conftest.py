import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllm_srec.agent.cli import main
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.commands import Done, Shop, Srec
from tests.agent.shop import deploy, scripted


@pytest.fixture
def engine() -> ScriptedEngine:
    """A model that answers by the rules of the shop."""
    return scripted()


@pytest.fixture
def deployment(tmp_path: Path, engine: ScriptedEngine) -> Iterator[Deployment]:
    """The shop in a home, described."""
    with deploy(tmp_path / "home", engine) as opened:
        fuse_missing(opened)
        yield opened


@pytest.fixture
def srec(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Srec:
    """The command line in this process, from its arguments to its exit code."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["srec", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Done(int(left.value.code or 0), out, err)

    return run


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A good shop in a folder."""
    (tmp_path / "shop").mkdir()
    made = Shop(tmp_path / "shop")
    made.write()
    return made
