"""What a reason is asked on, and its counted form."""

import re

from hypothesis import assume, given

from mllm_srec.agent.nodes.explain import exhibits_for, explain_prompt, plain_reason
from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.reason_check import CitedReason, check_reason, spoken_kinds
from mllm_srec.agent.nodes.summarize_preferences import Preference, plain_preference
from mllm_srec.agent.state import Event
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

    @property_test
    @given(histories(), ITEMS)
    def test_the_counted_form_passes_its_own_check(
        self, history: tuple[list[Event], dict[str, FusedItem]], target: FusedItem
    ) -> None:
        events, fused = history
        # A value that begins with a mark cannot be told from punctuation, one with `;` not from
        # two parts of a sentence.
        values = [value for each in (target, *fused.values()) for value in each.facets()]
        values += target.told
        assume(all(re.match(r"\w", value) and ";" not in value for value in values))
        preference = plain_preference(Preference(), events, fused)
        shown = exhibits_for(target, events, fused)
        found = plain_reason(preference, shown, target)
        kinds = spoken_kinds(frozenset(each.what for each in (target, *fused.values())))
        checked = check_reason(as_answer(found), preference, shown, target, kinds=kinds)
        assert checked.cites == found.cites
        # But for what a value, or a kind of thing, makes it say twice.
        assert set(checked.reason.split()) <= set(found.reason.split())

    def test_the_name_of_an_attribute_is_no_template(self) -> None:
        own = FusedItem(what="cup", told={"{0!r} {x}": "tin"})
        shown = exhibits_for(own, [event("i1")], {"i1": own})
        assert "{0!r} {x} tin" in plain_reason(Preference(), shown, own).reason

    def test_the_counted_form_of_an_item_of_which_nothing_is_known_says_so(self) -> None:
        found = plain_reason(Preference(), [], FusedItem(what=UNKNOWN))
        assert found.reason == "This item is something new, and nothing else is known of it."

    def test_the_counted_form_calls_what_has_no_kind_an_item(self) -> None:
        target = FusedItem(what=UNKNOWN, told={"purpose": "work"})
        found = plain_reason(Preference(), [], target)
        assert found.reason == "This item is something new: work."
        shown = exhibits_for(target, [event("i1")], {"i1": target})
        found = plain_reason(Preference(), shown, target)
        assert found.reason == "This item is for work, like the item you liked."

    def test_the_counted_form_of_the_longest_item_is_a_reason(self) -> None:
        long = item("w" * 80, *(f"{n}" * 80 for n in range(8)), told=tuple("abcdefghij"))
        found = plain_reason(Preference(), [], long)
        assert CitedReason.model_validate(found.model_dump()) == found
