"""Which reasons are believed, and what they may cite."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.agent.nodes.explain import MAX_CITED, exhibits_for
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.nodes.reason_check import CheckedReason, Exhibit, check_reason
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.state import Event
from mllm_srec.llm.structured import InvalidAnswer
from mllm_srec.store.records import UNKNOWN, FusedItem

from .described_items import FUSED, ITEMS, event, histories, item, property_test

KINDS = frozenset({"drum", "kite", "train", "cup", "rain coat", "for"})
LATELY = Preference(strong=["Red"], slight=["wood"], avoids=["drum"])


def checked(
    answer: str,
    exhibits: Sequence[Exhibit],
    target: FusedItem,
    preference: Preference = LATELY,
) -> CheckedReason:
    return check_reason(answer, preference, exhibits, target, kinds=KINDS)


class TestReasonCheck:
    exhibits = exhibits_for(FUSED["i2"], [event("i3"), event("i4"), event("i1")], FUSED)

    def test_a_reason_about_the_item_and_what_it_cites_passes(self) -> None:
        said = compact({"reason": "This drum is red, like the kite.", "cites": [1, 1]})
        found = checked(said, self.exhibits, FUSED["i2"])
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
        assert checked(said, self.exhibits, FUSED["i2"]).cites == cited

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
                "This drum is red, and so is this kite, the train and this cup.",
                [1],
                "'cup' is neither",
            ),
            ("This rain coat is red.", [1], "'rain coat' is neither"),
            ("This red thing is like the drum you liked.", [1], "no 'drum' that the user liked"),
            ("This drum is suited to what drum.", [1], "'what' is the name of an attribute"),
            ("This drum, what, is red.", [1], "'what' is the name of an attribute"),
            ("This drum is red and suited to , like the kite.", [1], "it breaks off"),
            (
                "This drum is red; lately you prefer rrd, like the kite; lately you prefer red.",
                [1],
                "the same part again",
            ),
        ],
    )
    def test_a_wrong_reason_is_refused(self, reason: str, cites: list[int], problem: str) -> None:
        with pytest.raises(InvalidAnswer, match=re.escape(problem)):
            checked(compact({"reason": reason, "cites": cites}), self.exhibits, FUSED["i2"])

    @pytest.mark.parametrize(
        "reason",
        [
            "This drum is red, for those somewhat, or exactly what you wanted.",
            "This drum is red; lately you prefer RED and wood, like the kite that you liked.",
            "This drum is red, like the kite and the train you liked.",
        ],
    )
    def test_what_is_true_passes(self, reason: str) -> None:
        said = compact({"reason": reason, "cites": [1]})
        assert checked(said, self.exhibits, FUSED["i2"]).reason == reason

    @pytest.mark.parametrize(
        ("said", "kept", "struck"),
        [
            ("red, drum and wood", "; lately you prefer red and wood.", ("drum",)),
            ("drum, red and what", "; lately you prefer red.", ("drum", "what")),
            ("drum", ".", ("drum",)),
            ("red, wo and a drum", "; lately you prefer red.", ("wo", "a drum")),
            ("what is red", "; lately you prefer what is red.", ()),
            ("wood", "; lately you prefer wood.", ()),
        ],
    )
    def test_what_is_not_preferred_lately_is_taken_out(
        self, said: str, kept: str, struck: tuple[str, ...]
    ) -> None:
        answer = compact({"reason": f"This drum is red; lately you prefer {said}."})
        found = checked(answer, self.exhibits, FUSED["i2"])
        assert (found.reason, found.struck) == (f"This drum is red{kept}", struck)
        assert "struck" not in found.model_dump()

    def test_a_preferred_name_with_a_point_stays_whole(self) -> None:
        target = FusedItem(what="cup", told={"brand": "Dr. Brown's"})
        said = "This cup is from Dr. Brown's; lately you prefer Dr. Brown's."
        preference = Preference(clear=["Dr. Brown's"])
        found = checked(compact({"reason": said}), [], target, preference)
        assert (found.reason, found.struck) == (said, ())

    def test_a_value_of_one_attribute_is_not_told_as_another(self) -> None:
        target = FusedItem(what="drum", told={"material": "wood", "purpose": "travel"})
        assert checked(compact({"reason": "This drum is for travel."}), [], target).reason
        with pytest.raises(InvalidAnswer, match="'travel' is not the item's material"):
            checked(compact({"reason": "This drum is made of travel."}), [], target)

    def test_an_item_of_no_known_kind_is_called_an_item(self) -> None:
        target = FusedItem(what=UNKNOWN, told={"price": "mid"})
        said = compact({"reason": "This unknown is in the mid price range."})
        assert checked(said, [], target).reason == "This item is in the mid price range."

    def test_a_like_that_was_not_shown_is_refused(self) -> None:
        said = compact({"reason": "This drum is red, like a drum you liked."})
        with pytest.raises(InvalidAnswer, match="no interaction that the user liked was shown"):
            checked(said, [], FUSED["i2"])

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
        shown = [Exhibit(what, FusedItem(what=what), ()) for what in ("drum", "kite")]
        assert checked(answer, shown, item).reason == f"This kite is red, {kept}."

    def test_a_name_that_has_a_word_twice_stays_whole(self) -> None:
        item = FusedItem(what="oil", told={"brand": "Johnson and Johnson"})
        said = "This oil is from Johnson and Johnson."
        assert checked(compact({"reason": said}), [], item).reason == said

    def test_a_name_with_points_and_signs_is_read_as_one(self) -> None:
        own = item("bottle", told=("Dr. Brown's",))
        other = item("cup", told=("St. Ives (UK)",))
        shown = [Exhibit("i9", other, ())]
        good = compact({"reason": "It is from Dr. Brown's."})
        assert checked(good, shown, own).reason
        with pytest.raises(InvalidAnswer, match="is not a value of the item"):
            checked(compact({"reason": "A bottle from St. Ives (UK)."}), shown, own)

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
            found = checked(said, shown, target)
        except InvalidAnswer:
            return
        assert all(1 <= cite <= len(shown) for cite in found.cites)

    def test_a_value_inside_a_longer_name_is_not_named(self) -> None:
        own = item("tent", told=("Blue Ridge",))
        shown = [Exhibit("i9", item("cup", "blue"), ())]
        said = compact({"reason": "A tent from Blue Ridge."})
        assert checked(said, shown, own).reason
        with pytest.raises(InvalidAnswer, match="'blue' is not a value"):
            checked(compact({"reason": "A blue tent from Blue Ridge."}), shown, own)
