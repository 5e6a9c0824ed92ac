"""Which reasons are believed, and what they may cite."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mllm_srec.agent.nodes import explain
from mllm_srec.agent.nodes.explain import (
    MAX_CITED,
    CitedReason,
    Exhibit,
    check_reason,
    exhibits_for,
    explain_prompt,
    plain_reason,
)
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.summarize_preferences import Preference, plain_preference
from mllm_srec.agent.state import Event
from mllm_srec.llm.structured import InvalidAnswer
from mllm_srec.store.records import UNKNOWN, FusedItem

from .described_items import FUSED, ITEMS, as_answer, event, histories, item, property_test


class TestExplain:
    exhibits = exhibits_for(FUSED["i2"], [event("i3"), event("i4"), event("i1")], FUSED)

    def test_exhibits_are_liked_and_share_most_first(self) -> None:
        assert [exhibit.item_id for exhibit in self.exhibits] == ["i1", "i4"]
        assert [exhibit.shared for exhibit in self.exhibits] == [("red",), ("wood",)]
        assert exhibits_for(FUSED["i2"], [event("i4", "disliked")], FUSED) == []

    def test_the_prompt_says_what_the_item_has_in_common(self) -> None:
        asked = explain_prompt(Profile(), Preference(clear=["wood"]), self.exhibits, FUSED["i2"])
        assert asked.messages[-1].text.splitlines()[-2:] == [
            "[1] kite: red; cotton; in common: s0 red",
            "[2] train: blue; wood; in common: t0 wood (lately)",
        ]

    def test_a_value_is_shared_whatever_capitals_it_has(self) -> None:
        target, fused = item("Kite", "red"), {"i1": item("kite", "Red")}
        preference = Preference(clear=["RED"])
        exhibits = exhibits_for(target, [event("i1")], fused)
        assert [exhibit.shared for exhibit in exhibits] == [("Kite", "red")]
        asked = explain_prompt(Profile(), preference, exhibits, target).messages[-1].text
        assert "in common: what Kite, s0 red (lately)" in asked
        assert plain_reason(preference, exhibits, target).reason == (
            "This Kite is red, like the kite you liked; lately you prefer red."
        )

    def test_a_reason_about_the_item_and_what_it_cites_passes(self) -> None:
        said = compact({"reason": "This drum is red, like the kite.", "cites": [1, 1]})
        found = check_reason(said, self.exhibits, FUSED["i2"])
        assert found.cites == [1]

    @pytest.mark.parametrize(
        ("reason", "cites", "cited"),
        [
            ("This drum is like the train.", [], [2]),
            ("This drum is red, like the train and the kite.", [1], [1, 2]),
            ("This drum is red.", [], []),
        ],
    )
    def test_an_interaction_that_is_named_is_cited(
        self, reason: str, cites: list[int], cited: list[int]
    ) -> None:
        said = compact({"reason": reason, "cites": cites})
        assert check_reason(said, self.exhibits, FUSED["i2"]).cites == cited

    @pytest.mark.parametrize(
        ("reason", "cites", "problem"),
        [
            ("This drum is red.", [3], "[3] was not shown"),
            ("This drum is red.", [0], "[0] was not shown"),
            ("This drum is red.", [-1], "[-1] was not shown"),
            ("This drum is blue.", [1], "'blue' is not a value"),
            ("You will like it.", [1], "nothing about the item"),
            ("Cotton again.", [1], "'cotton' is not a value"),
            ("This drum is red and budget.", [1], "'budget' is not a value"),
            ("This drum is red, from Caltag.", [1], "'caltag' stands nowhere"),
            ("This drum is red, and 5 are left.", [1], "'5' stands nowhere"),
            ("This drum is new; red, with it; Red with it.", [1], "the same part again"),
            (
                "This drum is red; lately you prefer rrd, like the kite; lately you prefer red.",
                [1],
                "the same part again",
            ),
        ],
    )
    def test_a_wrong_reason_is_refused(self, reason: str, cites: list[int], problem: str) -> None:
        with pytest.raises(InvalidAnswer, match=re.escape(problem)):
            check_reason(compact({"reason": reason, "cites": cites}), self.exhibits, FUSED["i2"])

    def test_a_like_that_was_not_shown_is_refused(self) -> None:
        said = compact({"reason": "This drum is red, like a drum you liked."})
        with pytest.raises(InvalidAnswer, match="no interaction that the user liked was shown"):
            check_reason(said, [], FUSED["i2"])

    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ("like the kite and the kite you liked", "like the kite you liked"),
            ("like the drum, the kite and the kite", "like the drum and the kite"),
            ("like the kite, the kite and the drum", "like the kite and the drum"),
            ("you prefer red, red and red", "you prefer red"),
            ("like the kite, the drum and the kite", "like the kite and the drum"),
            ("you prefer red, a kite and red", "you prefer red and a kite"),
            ("like the kite, the drum and the kites", "like the kite, the drum and the kites"),
            ("like the kite and red", "like the kite and red"),
            ("like the kite and the kites", "like the kite and the kites"),
            ("you prefer reddish and red, and redder", "you prefer reddish and red, and redder"),
            ("like the kite and the kite set", "like the kite and the kite set"),
            ("like the drum and the drum-stick", "like the drum and the drum-stick"),
        ],
    )
    def test_what_is_listed_twice_is_said_once(self, said: str, kept: str) -> None:
        answer = compact({"reason": f"This kite is red, {said}.", "cites": [1]})
        item = FusedItem(what="kite", seen={"colour": "red"})
        shown = [Exhibit("i", FusedItem(what="drum"), ())]
        assert check_reason(answer, shown, item).reason == f"This kite is red, {kept}."

    def test_a_name_that_has_a_word_twice_stays_whole(self) -> None:
        item = FusedItem(what="oil", told={"brand": "Johnson and Johnson"})
        said = "This oil is from Johnson and Johnson."
        assert check_reason(compact({"reason": said}), [], item).reason == said

    def test_a_name_with_points_and_signs_is_read_as_one(self) -> None:
        own = item("bottle", told=("Dr. Brown's",))
        other = item("cup", told=("St. Ives (UK)",))
        shown = [explain.Exhibit("i9", other, ())]
        good = compact({"reason": "It is from Dr. Brown's."})
        assert check_reason(good, shown, own).reason
        with pytest.raises(InvalidAnswer, match="is not a value of the item"):
            check_reason(compact({"reason": "A bottle from St. Ives (UK)."}), shown, own)

    @property_test
    @given(histories(), ITEMS, st.text(max_size=60), st.lists(st.integers(-1, 4), max_size=3))
    def test_a_reason_that_passes_cites_only_what_was_shown(
        self,
        history: tuple[list[Event], dict[str, FusedItem]],
        target: FusedItem,
        words: str,
        cites: list[int],
    ) -> None:
        shown = exhibits_for(target, *history)
        assert len(shown) <= MAX_CITED
        said = compact({"reason": f"{target.what} {words}", "cites": cites})
        try:
            found = check_reason(said, shown, target)
        except InvalidAnswer:
            return
        assert all(1 <= cite <= len(shown) for cite in found.cites)

    @property_test
    @given(histories(), ITEMS)
    def test_the_counted_form_passes_its_own_check(
        self, history: tuple[list[Event], dict[str, FusedItem]], target: FusedItem
    ) -> None:
        events, fused = history
        # A value without a letter or digit cannot be told from punctuation, one with `;` not from
        # two parts of a sentence.
        values = [value for each in (target, *fused.values()) for value in each.facets()]
        assume(all(re.search(r"\w", value) and ";" not in value for value in values))
        preference = plain_preference(Preference(), events, fused)
        shown = exhibits_for(target, events, fused)
        found = plain_reason(preference, shown, target)
        checked = check_reason(as_answer(found), shown, target)
        assert checked.cites == found.cites
        # But for what a value, or a kind of thing, makes it say twice.
        assert set(checked.reason.split()) <= set(found.reason.split())

    def test_a_value_inside_a_longer_name_is_not_named(self) -> None:
        own = item("tent", told=("Blue Ridge",))
        shown = [explain.Exhibit("i9", item("cup", "blue"), ())]
        said = compact({"reason": "A tent from Blue Ridge."})
        assert check_reason(said, shown, own).reason
        with pytest.raises(InvalidAnswer, match="'blue' is not a value"):
            check_reason(compact({"reason": "A blue tent from Blue Ridge."}), shown, own)

    def test_the_name_of_an_attribute_is_no_template(self) -> None:
        own = FusedItem(what="cup", told={"{0!r} {x}": "tin"})
        shown = exhibits_for(own, [event("i1")], {"i1": own})
        assert "{0!r} {x} tin" in plain_reason(Preference(), shown, own).reason

    def test_the_counted_form_of_an_item_of_which_nothing_is_known_says_so(self) -> None:
        found = plain_reason(Preference(), [], FusedItem(what=UNKNOWN))
        assert found.reason == "This item is something new, and nothing else is known of it."

    def test_the_counted_form_of_the_longest_item_is_a_reason(self) -> None:
        long = item("w" * 80, *(f"{n}" * 80 for n in range(8)), told=tuple("abcdefghij"))
        found = plain_reason(Preference(), [], long)
        assert CitedReason.model_validate(found.model_dump()) == found
