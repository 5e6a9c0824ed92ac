import polars as pl
import pytest

from mllm_srec.store.records import Interaction
from mllm_srec.tools.likes import is_like, liked_rows, likes

RATINGS = {"a": 5.0, "b": 1.0, "c": None, "d": 4.0}


@pytest.mark.parametrize(("least", "liked"), [(4.0, "acd"), (5.0, "ac"), (None, "abcd")])
def test_a_rating_a_history_and_a_log_have_the_same_likes(least: float | None, liked: str) -> None:
    history = [
        Interaction(user_id="u", item_id=item, position=position, rating=rating)
        for position, (item, rating) in enumerate(RATINGS.items())
    ]
    log = pl.DataFrame({"item_id": list(RATINGS), "rating": list(RATINGS.values())})
    assert [item for item, rating in RATINGS.items() if is_like(rating, least)] == list(liked)
    assert likes(history, least) == list(liked)
    assert liked_rows(log, least)["item_id"].to_list() == list(liked)


def test_in_a_log_without_ratings_all_are_likes() -> None:
    assert len(liked_rows(pl.DataFrame({"item_id": ["a", "b"]}), 4.0)) == 2
