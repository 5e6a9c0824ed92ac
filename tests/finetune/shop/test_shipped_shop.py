"""The shop that ships is the one that anybody can draw again."""

from pathlib import Path

import polars as pl
import pytest

from mllm_srec.agent.demo import sample_shop
from mllm_srec.finetune.cli import sample_shop_app

MEBIBYTE = 2**20


def test_the_shipped_shop_is_at_most_8_mebibytes_and_has_no_truth() -> None:
    files = [path for path in sample_shop().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8 * MEBIBYTE
    assert {path.suffix for path in files} == {".jpg", ".parquet"}
    assert not (sample_shop() / "truth").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_shipped_shop_is_what_sample_shop_draws_from_seed_1(tmp_path: Path) -> None:
    sample_shop_app(["--seed", "1", "--out", str(tmp_path)], standalone_mode=False)
    shipped = {path.relative_to(sample_shop()) for path in sample_shop().rglob("*.*")}
    drawn = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")}
    assert shipped == {path for path in drawn if path.parts[0] != "truth"}
    for name in sorted(shipped):
        again = tmp_path / name
        if name.suffix == ".parquet":
            assert pl.read_parquet(again).equals(pl.read_parquet(sample_shop() / name)), name
        else:
            assert again.read_bytes() == (sample_shop() / name).read_bytes(), name
