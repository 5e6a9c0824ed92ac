"""What the demo does besides its commands, each of which has tests of its own."""

from pathlib import Path

import pytest

from mllm_srec.agent.demo import describe
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.terminal.output import Output

from .shop import scripted
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
