import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mllm_srec.store.records import UNKNOWN, FusedItem
from mllm_srec.tools.facets import FacetModel, FacetWeights, Memories

WORDS = ("red", "blue", "cotton", "wool", UNKNOWN)


def shop(colours: str = "rrrbbbbbbb") -> FacetModel:
    """Items i0, i1, ...: lamps, `r` for red and `b` for blue."""
    names = {"r": "red", "b": "blue"}
    items = {
        f"i{row}": FusedItem(what="lamp", seen={"colour": names[letter]})
        for row, letter in enumerate(colours)
    }
    return FacetModel.fit(items)


def test_nothing_liked_speaks_for_nothing() -> None:
    assert shop().scores([]).tolist() == [0.0] * 10
    assert shop().scores(["gone"]).tolist() == [0.0] * 10


def test_what_the_likes_have_more_often_than_the_catalogue_speaks_for_an_item() -> None:
    scores = shop().scores(["i0"])
    assert scores[1] == scores[0] > 0 > scores[9]
    # By hand: (1 + 15 * .3) / (1 + 15) / .3; that all are lamps says nothing.
    assert scores[0] == pytest.approx(np.log(5.5 / 16 / 0.3))


def test_values_that_differ_in_capitals_alone_are_one() -> None:
    items = {
        "a": FusedItem(what="Lamp", seen={"colour": "red"}),
        "b": FusedItem(what="lamp", seen={"colour": "Red"}),
        "c": FusedItem(what="sofa", seen={"colour": "blue"}),
    }
    scores = FacetModel.fit(items).scores(["a"])
    assert scores[0] == scores[1] > 0 > scores[2]
    beside = {"mine": FusedItem(what="LAMP", seen={"colour": "RED"})}
    assert FacetModel.fit(items).scores(["mine"], beside) == pytest.approx(scores)


def test_a_rare_value_says_more_than_a_common_one() -> None:
    assert shop().scores(["i0"])[0] > shop().scores(["i9"])[9] > 0


def test_later_likes_count_more() -> None:
    model = shop("rrrrrbbbbb")
    assert model.scores(["i0", "i9"])[9] > model.scores(["i9", "i0"])[9]


def test_a_like_from_elsewhere_counts_by_its_description() -> None:
    beside = {"mine": FusedItem(what="lamp", seen={"colour": "red", "shape": "of its own"})}
    history = ["i9", "mine", "i8"]
    same = ["i9", "i0", "i8"]
    assert shop().scores(history, beside).tolist() == shop().scores(same).tolist()
    unknown = {"mine": FusedItem(what="boat")}
    assert shop().scores(["mine"], unknown).tolist() == [0.0] * 10


def test_an_item_of_which_nothing_is_known_is_neither_good_nor_bad() -> None:
    items = {"known": FusedItem(what="lamp"), "unknown": FusedItem(what=UNKNOWN)}
    assert FacetModel.fit(items).scores(["unknown"]).tolist() == [0.0, 0.0]
    assert FacetModel.fit({}).scores(["known"]).shape == (0,)


@given(
    told=st.lists(st.sets(st.sampled_from(WORDS), max_size=4), min_size=1, max_size=8),
    liked=st.lists(st.integers(0, 9), max_size=12),
)
def test_scores_are_finite_and_follow_the_items(told: list[set[str]], liked: list[int]) -> None:
    items = {
        f"i{row}": FusedItem(what="thing", told={word: word for word in sorted(words)})
        for row, words in enumerate(told)
    }
    history = [f"i{number}" for number in liked]
    scores = FacetModel.fit(items).scores(history)
    assert np.isfinite(scores).all()
    backwards = FacetModel.fit(dict(reversed(items.items()))).scores(history)
    assert backwards[::-1] == pytest.approx(scores)


NAMES = st.sampled_from(("what", "colour", "material"))


@given(
    told=st.lists(st.dictionaries(NAMES, st.sampled_from(WORDS)), min_size=1, max_size=8),
    liked=st.lists(st.integers(0, 9), max_size=12),
    pairs=st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=3, max_size=3),
    named=st.integers(0, 3),
)
def test_the_score_is_the_evidence_of_each_attribute_weighed(
    told: list[dict[str, str]],
    liked: list[int],
    pairs: list[tuple[float, float]],
    named: int,
) -> None:
    items = {
        f"i{row}": FusedItem(what=words.get("what", UNKNOWN), told=words)
        for row, words in enumerate(told)
    }
    model, history = FacetModel.fit(items), [f"i{number}" for number in liked]
    weights = [Memories(*pair) for pair in pairs]
    chosen = dict(zip(model.names[:named], weights, strict=False))
    weighed = model.weighed(FacetWeights(named=chosen, others=weights[-1]))
    of_each = [chosen.get(name, weights[-1]) for name in model.names[:named]]
    by_memory = np.array([*of_each, weights[-1]]).T.ravel()
    rows = np.arange(len(items))[::-1]
    evidence = model.evidence(history, rows, len(of_each))
    assert weighed.scores(history)[rows] == pytest.approx(evidence @ by_memory, rel=1e-5, abs=1e-5)


def test_an_attribute_without_weight_says_nothing() -> None:
    items = {
        "a": FusedItem(what="lamp", seen={"colour": "red"}),
        "b": FusedItem(what="lamp", seen={"colour": "blue"}),
        "c": FusedItem(what="sofa", seen={"colour": "red"}),
    }
    model = FacetModel.fit(items)
    assert model.scores(["a"])[2] == model.scores(["a"])[1]
    kind = model.weighed(FacetWeights(named={"what": Memories(1, 0), "colour": Memories(0, 0)}))
    assert kind.scores(["a"])[0] == kind.scores(["a"])[1] > 0 > kind.scores(["a"])[2]


def test_the_lasting_memory_forgets_later() -> None:
    early, late = ["i0", *["i9"] * 12], [*["i9"] * 12, "i0"]
    lost = [
        model.scores(late)[0] - model.scores(early)[0]
        for memories in (Memories(1, 0), Memories(0, 1))
        for model in (shop().weighed(FacetWeights(others=memories)),)
    ]
    assert lost[0] > lost[1] > 0


@pytest.mark.parametrize("weight", [-0.5, np.nan, np.inf])
def test_a_weight_is_a_number_that_is_not_negative(weight: float) -> None:
    with pytest.raises(ValidationError, match="others"):
        FacetWeights.model_validate({"others": [weight, 0.0]})
