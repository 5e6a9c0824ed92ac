"""What a rating means."""

import pytest

from mllm_srec.agent.nodes.load_user import verdict
from mllm_srec.agent.state import Settings, Verdict


@pytest.mark.parametrize(
    ("rating", "said"),
    [(None, "liked"), (5, "liked"), (4, "liked"), (3, "neutral"), (2, "disliked"), (1, "disliked")],
)
def test_ratings_are_verdicts(rating: float | None, said: Verdict) -> None:
    assert verdict(rating, Settings()) == said
