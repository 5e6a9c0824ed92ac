"""The closed-form baselines reach on real data what others measured with the same protocol."""

from pathlib import Path

import polars as pl
import pytest

from mllm_srec.finetune.data.splits import shuffle_days, split_by_user
from mllm_srec.finetune.evaluation.baselines import fit_baselines
from mllm_srec.finetune.evaluation.evaluate import run_trial
from mllm_srec.finetune.evaluation.report import summarize

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the public data sets in ../shared/data"
)


def measured(frame: pl.DataFrame, users: int | None = None) -> dict[str, tuple[float, float]]:
    """Recall@10 and NDCG@10 of every baseline on the test part."""
    split = split_by_user(frame, sorted(set(frame["item_id"])))
    report = summarize([run_trial(fit_baselines(split), split, users=users)])
    return {row.name: (row.figures["recall@10"], row.figures["ndcg@10"]) for row in report.rows}


@needs_data
def test_on_films_with_posters_the_baselines_reach_the_reference() -> None:
    folder = DATA / "movielens_small_posters"
    posters = pl.read_parquet(folder / "items.parquet").filter(pl.col("image").is_not_null())
    frame = (
        pl.read_parquet(folder / "interactions.parquet")
        .join(posters.select("item_id"), on="item_id", how="semi")
        .filter(pl.col("rating") >= 4)
        .filter(pl.len().over("user_id") >= 5)
    )
    found = measured(frame)
    assert found["popularity"] == pytest.approx((0.080, 0.041), abs=0.003)
    assert found["ease"] == pytest.approx((0.173, 0.087), abs=0.008)
    assert found["transitions"] >= (0.146, 0.076)
    # What retrieval uses is as good as the best of them.
    assert found["collaborative"] == pytest.approx((0.173, 0.087), abs=0.003)


@needs_data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_beauty_with_days_shuffled_the_blend_is_above_the_best_reference() -> None:
    frame = pl.read_parquet(DATA / "amazon_beauty_2014" / "interactions.parquet")
    found = measured(shuffle_days(frame, seed=0))
    assert found["popularity"] == pytest.approx((0.017, 0.008), abs=0.002)
    assert found["ease"] == pytest.approx((0.085, 0.051), abs=0.005)
    assert found["collaborative"] >= (0.085, 0.051)
