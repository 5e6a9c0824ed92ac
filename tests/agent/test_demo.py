"""What the demo does besides its commands, each of which has tests of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from mllm_srec.agent.cli_options import DEMO_HOME
from mllm_srec.agent.demo import describe, next_commands
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.terminal.output import Output

from .shop import scripted
from .terminal.test_views import RESULT
from .test_ingest import of_another_model, opened, titles


def test_a_shop_that_another_version_described_is_described_anew(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home, engine = tmp_path / "home", of_another_model()
    with opened(home, scripted()) as deployment:
        fuse_missing(deployment)
    with Output(as_json=False) as out, opened(home, engine) as deployment:
        assert describe(out, deployment) == (8, 0)
        assert len(titles(engine.generated)) == 8
        assert Recommender(deployment).recommend("mia", k=1).items
    assert "another model described this shop before" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("home", "again"),
    [(DEMO_HOME, "srec demo 'u 2'"), (Path("/shop"), "srec demo 'u 2' --home /shop")],
)
def test_what_to_type_next_stays_in_the_home_that_was_shown(home: Path, again: str) -> None:
    commands = [line for line, _ in next_commands(home, replace(RESULT, user="u 1"), ["u 2"])]
    assert again in commands
    talk = next(line for line in commands if line.startswith("srec chat --user 'u 1' --home "))
    assert Path(talk.rpartition(" ")[2]).expanduser() == home.expanduser()
