"""What a rating means."""

import math
from typing import Any

import pytest

from mllm_srec.agent.nodes.load_user import verdict
from mllm_srec.agent.state import Settings, Verdict


@pytest.mark.parametrize(
    ("rating", "said"),
    [(None, "liked"), (5, "liked"), (4, "liked"), (3, "neutral"), (2, "disliked"), (1, "disliked")],
)
def test_ratings_are_verdicts(rating: float | None, said: Verdict) -> None:
    assert verdict(rating, Settings()) == said


@pytest.mark.parametrize("bound", ["liked_rating", "disliked_rating"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_rating_that_is_no_number_is_no_bound(bound: str, value: float) -> None:
    wrong: dict[str, Any] = {bound: value}
    with pytest.raises(ValueError, match=f"{bound} {value} must be a finite number"):
        Settings(**wrong)
