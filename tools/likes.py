"""What counts as a like: a rating at or above a threshold, or an interaction without a rating."""

from collections.abc import Iterable

import polars as pl

from mllm_srec.store.records import Interaction


def is_like(rating: float | None, min_rating: float | None) -> bool:
    """Whether an interaction is a like.

    Args:
        rating: Of the interaction; what has no rating always is a like.
        min_rating: Lowest rating that is a like; None takes every interaction as one.
    """
    return rating is None or min_rating is None or rating >= min_rating


def likes(history: Iterable[Interaction], min_rating: float | None = None) -> list[str]:
    """The items of the likes of a history, in its order; see `is_like`."""
    return [one.item_id for one in history if is_like(one.rating, min_rating)]


def liked_rows(frame: pl.DataFrame, min_rating: float | None) -> pl.DataFrame:
    """The rows of a log that are likes; all where it has no column `rating`. See `is_like`."""
    if min_rating is None or "rating" not in frame.columns:
        return frame
    return frame.filter(pl.col("rating").is_null() | (pl.col("rating") >= min_rating))
