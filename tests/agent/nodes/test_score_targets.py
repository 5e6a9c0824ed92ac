"""What a scoring prompt says."""

import datetime as dt

from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.score_targets import (
    describe_history,
    describe_now,
    in_common,
    lists_by_value,
    score_prompts,
)
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.store.records import DAY_S

from .described_items import FUSED, event, item


class TestScorePrompt:
    profile = Profile(loves=["red"], dislikes=["cotton"])
    preference = Preference(strong=["kite", "red"], slight=["blue"], rising=["red"])
    named = lists_by_value(profile, preference)

    def test_an_attribute_is_told_every_list_that_names_its_value(self) -> None:
        assert in_common(self.named, FUSED["i1"]) == (
            "what: strong; s0: loves, strong, rising; t0: dislikes"
        )

    def test_an_attribute_is_found_again_whatever_capitals_it_has(self) -> None:
        shown = item("Kite", "RED", told=("Cotton",))
        assert in_common(self.named, shown) == in_common(self.named, FUSED["i1"])

    def test_an_item_that_has_nothing_of_them_says_so(self) -> None:
        assert in_common({}, FUSED["i1"]) == "none"

    def test_the_candidates_of_a_user_share_everything_before_the_item(self) -> None:
        items = [FUSED["i1"], FUSED["i3"]]
        asked = score_prompts(self.profile, self.preference, "no items", "June", items)
        texts = [prompt.messages[-1].text for prompt in asked]
        assert len({text.partition("\nItem: ")[0] for text in texts}) == 1


def test_how_much_of_a_history_there_is() -> None:
    history = [event("i1", "liked"), event("i2", "disliked"), event("i3", "liked")]
    assert describe_history(history) == "3 items, 2 of them liked"
    assert describe_history([]) == "no items"


class TestNow:
    now = int(dt.datetime(2026, 3, 5, tzinfo=dt.UTC).timestamp())

    def test_now_is_a_month_and_the_days_since(self) -> None:
        assert describe_now(None, None) == describe_now(None, self.now) == "unknown"
        assert describe_now(self.now, None) == "March"
        assert (
            describe_now(self.now, self.now - 3 * DAY_S - 1)
            == "March, 3 days after the last interaction"
        )

    def test_a_request_from_before_the_last_interaction_is_no_days_after_it(self) -> None:
        assert describe_now(self.now, self.now + DAY_S).endswith(
            ", 0 days after the last interaction"
        )
