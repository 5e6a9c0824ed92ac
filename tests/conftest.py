import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import postgresql as throw_away
from tests.rules import require_vllm

# A machine that does other work as well makes no test wrong.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def vllm_installed() -> None:
    """Skip where vLLM is not installed; fail there in CI, where it must be."""
    require_vllm(
        installed=importlib.util.find_spec("vllm") is not None, in_ci=bool(os.environ.get("CI"))
    )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[throw_away.Server]:
    programs = throw_away.binaries()
    if programs is None:
        pytest.skip(throw_away.MISSING)
    with throw_away.running(programs) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'database.sqlite'}"
    server: throw_away.Server = request.getfixturevalue("postgresql")
    return server.empty()
