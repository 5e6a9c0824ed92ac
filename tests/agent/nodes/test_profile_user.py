"""Which profiles are believed, and what counting makes of a history."""

import pytest
from hypothesis import given

from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.nodes.profile_user import (
    MAX_DISLIKED_VALUES,
    Profile,
    check_profile,
    count_evidence,
    plain_profile,
    profile_prompt,
    stated,
    statements,
)
from mllm_srec.agent.state import Event
from mllm_srec.llm.structured import InvalidAnswer
from mllm_srec.store.records import FusedItem

from .described_items import FUSED, answers, as_answer, event, histories, item, property_test


class TestProfile:
    def test_evidence_counts_the_share_of_likes_and_the_dislikes(self) -> None:
        events = [event("i1"), event("i2"), event("i4"), event("i3", "disliked")]
        shares = [(e.value, e.liked, e.disliked_count) for e in count_evidence(events, FUSED)]
        assert shares == [("wood", 67, 0), ("red", 67, 0), ("robot", 0, 1), ("steel", 0, 1)]

    def test_a_value_needs_two_likes_and_unknown_is_no_value(self) -> None:
        assert count_evidence([event("i1"), event("i5"), event("i5")], FUSED) == []

    def test_no_value_is_counted_twice(self) -> None:
        events = [event("i2")] * 2 + [event("i2", "disliked")] * 3
        values = [entry.value for entry in count_evidence(events, FUSED)]
        assert values == ["drum", "red", "wood"]

    def test_values_that_differ_in_capitals_alone_are_counted_as_one(self) -> None:
        fused = {"i1": item("kite", "Red"), "i2": item("drum", "red")}
        events = [event("i1"), event("i2")]
        evidence = count_evidence(events, fused)
        assert [(entry.value, entry.liked_count) for entry in evidence] == [("Red", 2)]
        profile = check_profile(compact({"loves": ["red", "RED"]}), evidence)
        assert profile == plain_profile(evidence) == Profile(loves=["Red"])
        [said] = statements(profile, events, fused)
        assert said["item_ids"] == ["i1", "i2"]

    def test_shares_decide_the_strength(self) -> None:
        events = [event("i1")] * 5 + [event("i2")] * 3 + [event("i4")] * 2
        profile = plain_profile(count_evidence(events, FUSED))
        assert profile == Profile(
            loves=["red", "wood", "kite", "cotton"], likes=["drum"], leans=["train", "blue"]
        )

    def test_the_prompt_shows_what_so_many_have(self) -> None:
        events = [event("i1")] * 5 + [event("i2")] * 3 + [event("i4")] * 2
        evidence = count_evidence([*events, event("i3", "disliked")], FUSED)
        assert profile_prompt(evidence).messages[-1].text.splitlines()[1:] == [
            "Of the liked items:",
            "half: red, wood, kite, cotton",
            "a third: drum",
            "a sixth: train, blue",
            "Of the disliked items:",
            "some: robot, steel",
        ]
        assert profile_prompt([]).messages[-1].text.count("none") == 2

    def test_what_is_disliked_more_than_liked_is_a_dislike(self) -> None:
        events = [event("i2")] * 2 + [event("i2", "disliked")] * 3
        assert plain_profile(count_evidence(events, FUSED)).dislikes == ["drum", "red", "wood"]

    def test_someone_who_dislikes_much_still_gets_a_profile(self) -> None:
        fused = {"i": item("kite", *(f"seen{n}" for n in range(8)), told=tuple("abcdefghij"))}
        events = [event("i")] * 2 + [event("i", "disliked")] * 3
        evidence = count_evidence(events, fused)
        profile = plain_profile(evidence)
        assert len(profile.dislikes) == MAX_DISLIKED_VALUES
        assert check_profile(as_answer(profile), evidence) == profile

    def test_unsupported_statements_are_dropped(self) -> None:
        evidence = count_evidence([event("i1"), event("i2"), event("i3", "disliked")], FUSED)
        said = compact({"loves": ["red", "gold"], "dislikes": ["red", "blue"], "likes": ["robot"]})
        assert check_profile(said, evidence) == Profile(loves=["red"], dislikes=["blue"])

    def test_a_profile_of_inventions_is_refused(self) -> None:
        evidence = count_evidence([event("i1"), event("i2")], FUSED)
        with pytest.raises(InvalidAnswer, match="no statement has an interaction"):
            check_profile(compact({"loves": ["gold"]}), evidence)

    def test_naming_nothing_is_right_where_no_share_is_large_enough(self) -> None:
        fused = {f"i{n}": item(f"thing{n // 2}") for n in range(20)}
        events = [event(f"i{n}") for n in range(20)]
        evidence = count_evidence(events, fused)
        assert evidence
        assert plain_profile(evidence) == Profile()
        assert check_profile("{}", evidence) == Profile()

    def test_statements_carry_the_interactions_behind_them(self) -> None:
        events = [event("i1"), event("i2"), event("i3", "disliked"), event("i4", "neutral")]
        profile = Profile(loves=["red"], dislikes=["blue"])
        assert statements(profile, events, FUSED) == [
            {"value": "red", "strength": "loves", "item_ids": ["i1", "i2"]},
            {"value": "blue", "strength": "dislikes", "item_ids": ["i3"]},
        ]

    @property_test
    @given(histories(), answers(Profile))
    def test_every_statement_that_passes_has_an_interaction(
        self, history: tuple[list[Event], dict[str, FusedItem]], said: str
    ) -> None:
        events, fused = history
        try:
            profile = check_profile(said, count_evidence(events, fused))
        except InvalidAnswer:
            return
        found = statements(profile, events, fused)
        assert all(statement["item_ids"] for statement in found)
        assert stated(found) == profile

    @property_test
    @given(histories(size=30))
    def test_the_counted_form_passes_its_own_check(
        self, history: tuple[list[Event], dict[str, FusedItem]]
    ) -> None:
        events, fused = history
        evidence = count_evidence(events, fused)
        profile = plain_profile(evidence)
        assert check_profile(as_answer(profile), evidence) == profile
        assert len({entry.value for entry in evidence}) == len(evidence)
