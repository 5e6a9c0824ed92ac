"""What the windows are, and which preferences are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.agent.nodes import profile_user
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.nodes.summarize_preferences import (
    CAPS,
    Preference,
    check_preference,
    plain_preference,
    window_lines,
    window_prompt,
    windows,
)
from mllm_srec.agent.state import Event, Settings
from mllm_srec.llm.structured import InvalidAnswer
from mllm_srec.store.records import FusedItem, folded

from .described_items import FUSED, answers, as_answer, event, histories, item, property_test


class TestWindows:
    @property_test
    @given(st.integers(0, 200), st.integers(1, 12))
    def test_every_event_is_in_exactly_one_window_when_the_step_is_the_size(
        self, length: int, size: int
    ) -> None:
        spans = windows(length, Settings(window_size=size, window_step=size))
        assert [index for start, stop in spans for index in range(start, stop)] == list(
            range(length)
        )

    @property_test
    @given(st.integers(0, 200), st.integers(1, 12), st.data())
    def test_smaller_steps_overlap_and_leave_nothing_out(
        self, length: int, size: int, data: st.DataObject
    ) -> None:
        step = data.draw(st.integers(1, size))
        spans = windows(length, Settings(window_size=size, window_step=step))
        assert {index for start, stop in spans for index in range(start, stop)} == set(
            range(length)
        )
        assert all(0 < stop - start <= size for start, stop in spans)
        assert [start for start, _ in spans] == [n * step for n in range(len(spans))]

    @property_test
    @given(st.integers(0, 100), st.integers(1, 8), st.data())
    def test_one_more_event_changes_the_last_window_or_adds_one(
        self, length: int, size: int, data: st.DataObject
    ) -> None:
        chosen = Settings(window_size=size, window_step=data.draw(st.integers(1, size)))
        before, after = windows(length, chosen), windows(length + 1, chosen)
        assert len(after) - len(before) in (0, 1)
        assert len(set(after) - set(before)) == 1

    def test_a_step_that_skips_interactions_is_refused(self) -> None:
        with pytest.raises(ValueError, match="window_step 6"):
            Settings(window_size=5, window_step=6)


class TestPreference:
    def test_one_like_is_slight_two_are_clear_three_are_strong(self) -> None:
        events = [event("i1"), event("i2"), event("i4")]
        found = plain_preference(Preference(), events, FUSED)
        assert found.clear == ["wood", "red"]
        assert set(found.slight) == {"train", "blue", "drum", "kite", "cotton"}
        assert "red" in plain_preference(Preference(), [*events, event("i1")], FUSED).strong

    def test_the_first_window_has_no_direction(self) -> None:
        found = plain_preference(Preference(), [event("i1"), event("i2")], FUSED)
        assert found.rising == found.fading == []

    def test_values_are_named_newest_first(self) -> None:
        found = plain_preference(Preference(), [event("i1"), event("i3")], FUSED)
        assert found.slight == ["robot", "blue", "steel", "kite", "red", "cotton"]

    def test_a_carried_level_fades_with_every_interaction(self) -> None:
        before = Preference(strong=["red"])
        one = plain_preference(before, [event("i3")], FUSED)
        five = plain_preference(before, [event("i3")] * 5, FUSED)
        ten = plain_preference(before, [event("i3")] * 15, FUSED)
        assert "red" in one.strong
        assert "red" in five.clear
        assert "red" in five.fading
        assert "red" not in {*ten.strong, *ten.clear, *ten.slight}
        assert "red" in ten.fading

    def test_what_gains_a_level_is_rising(self) -> None:
        before = Preference(slight=["blue"], strong=["red"])
        found = plain_preference(before, [event("i3"), event("i4")], FUSED)
        assert found.rising == ["blue"]

    def test_dislikes_are_avoided_and_take_away_from_likes(self) -> None:
        found = plain_preference(Preference(), [event("i3", "disliked")], FUSED)
        assert found.avoids == ["robot", "blue", "steel"]
        both = plain_preference(Preference(), [event("i4"), event("i3", "disliked")], FUSED)
        assert "blue" not in {*both.slight, *both.avoids}

    def test_a_neutral_rating_and_an_unknown_item_say_nothing(self) -> None:
        events = [event("i1", "neutral"), event("i5")]
        assert plain_preference(Preference(), events, FUSED) == Preference()

    def test_values_that_differ_in_capitals_alone_are_counted_as_one(self) -> None:
        fused = {"i1": item("Kite", "Red"), "i2": item("KITE", "red", told=("RED",))}
        events = [event("i1"), event("i2")]
        found = plain_preference(Preference(), events, fused)
        assert found == Preference(clear=["Kite", "Red"])
        asked = window_prompt(Preference(), events, fused).messages[-1].text
        assert asked.endswith("\n2: Kite, Red")
        said = compact({"clear": ["kite", "RED", "red"]})
        assert check_preference(said, Preference(), events, fused) == found
        carried = plain_preference(Preference(slight=["red"]), events, fused)
        assert carried.strong == ["red"]

    def test_a_value_that_nothing_shows_is_dropped(self) -> None:
        said = compact(
            {"strong": ["red", "gold"], "avoids": ["kite", "silk"], "fading": ["cotton"]}
        )
        found = check_preference(said, Preference(avoids=["silk"]), [event("i1")], FUSED)
        assert found == Preference(strong=["red"], avoids=["silk"])

    def test_a_value_has_the_first_level_that_it_is_given(self) -> None:
        said = compact({"clear": ["red", "duck"], "slight": ["red"], "avoids": ["duck"]})
        before = Preference(clear=["red", "duck"], slight=["rubber"])
        found = check_preference(said, before, [event("i1")], FUSED)
        assert found == Preference(clear=["red", "duck"])

    def test_an_answer_of_nothing_but_inventions_is_refused(self) -> None:
        with pytest.raises(InvalidAnswer, match="nothing that the interactions show"):
            check_preference(compact({"strong": ["gold"]}), Preference(), [event("i1")], FUSED)

    def test_naming_nothing_is_right_where_counting_finds_nothing(self) -> None:
        before = Preference(slight=["red"])
        neutral = [event("i3", "neutral")] * 5
        assert plain_preference(before, neutral, FUSED) == Preference()
        assert check_preference("{}", before, neutral, FUSED) == Preference()

    def test_naming_nothing_is_refused_where_counting_finds_something(self) -> None:
        with pytest.raises(InvalidAnswer, match="nothing that the interactions show"):
            check_preference("{}", Preference(), [event("i1")], FUSED)

    @property_test
    @given(histories(), answers(Preference), answers(Preference))
    def test_nothing_outside_the_evidence_passes(
        self, history: tuple[list[Event], dict[str, FusedItem]], carried: str, said: str
    ) -> None:
        events, fused = history
        before = Preference.model_validate_json(carried)
        try:
            found = check_preference(said, before, events, fused)
        except InvalidAnswer:
            return
        held = set(map(folded, before.values()))
        shown = {
            kind: {
                folded(value)
                for e in events
                if e["verdict"] == kind
                for value in fused[e["item_id"]].facets()
            }
            for kind in ("liked", "disliked")
        }
        for name, values in found:
            allowed = {"fading": set[str](), "avoids": shown["disliked"]}.get(name, shown["liked"])
            assert set(map(folded, values)) <= held | allowed
            assert len(set(map(folded, values))) == len(values)

    @property_test
    @given(histories(size=20))
    def test_the_counted_form_passes_its_own_check_along_any_history(
        self, history: tuple[list[Event], dict[str, FusedItem]]
    ) -> None:
        events, fused = history
        state = Preference()
        for start, stop in windows(len(events), Settings()):
            found = plain_preference(state, events[start:stop], fused)
            assert check_preference(as_answer(found), state, events[start:stop], fused) == found
            named = dict(found)
            assert all(len(named[name]) <= most for name, most in CAPS.items())
            state = found

    def test_the_prompt_groups_values_by_points_and_direction(self) -> None:
        before = Preference(strong=["red"], clear=["tin"], slight=["wood"], avoids=["kite"])
        asked = window_prompt(before, [event("i2"), event("i4")], FUSED).messages[-1].text
        points = asked.partition("Points:\n")[2].splitlines()
        assert points == [
            "3 or more: wood, red",
            "1: train, blue, drum, tin",
            "risen to 2 or more: wood",
            "fallen from 2 or more: tin",
            "less than 0: kite",
        ]

    def test_what_was_clear_and_has_no_points_left_is_shown_as_fading(self) -> None:
        neutral = [event("i3", "neutral")] * 12
        asked = window_prompt(Preference(clear=["tin"]), neutral, FUSED).messages[-1].text
        assert asked.endswith("Points:\nfallen from 2 or more: tin")
        assert plain_preference(Preference(clear=["tin"]), neutral, FUSED).fading == ["tin"]

    def test_a_window_without_a_verdict_has_no_points(self) -> None:
        asked = window_prompt(Preference(), [event("i3", "neutral")], FUSED).messages[-1].text
        assert asked.endswith("Points:\nnone")

    def test_window_lines_are_in_order_and_carry_days(self) -> None:
        events = [event("i1", "liked", 0, 3), event("i3", "disliked", 1, 5)]
        assert window_lines(events, FUSED).splitlines() == [
            "- liked, 2 days before: kite: red; cotton",
            "- disliked, 0 days before: robot: blue; steel",
        ]

    def test_a_log_without_times_counts_items_instead(self) -> None:
        events = [event("i1", day=None), event("i3", day=None)]
        first, last = window_lines(events, FUSED).splitlines()
        assert first.startswith("- liked, 1 items ago: ")
        assert last.startswith("- liked, 0 items ago: ")


def test_every_step_asks_within_the_limits_of_its_form() -> None:
    """A cap above the form's own bound would make the counted form invalid."""
    for name, field in Preference.model_fields.items():
        longest = next(each.max_length for each in field.metadata if hasattr(each, "max_length"))
        # What rises or fades is or was strong or clear.
        assert CAPS.get(name, CAPS["strong"] + CAPS["clear"]) <= longest
    assert profile_user.LEAST_COUNT > 1
