"""Weights of attributes, fitted on logs whose users go by one attribute alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from mllm_srec.finetune.data.splits import split_by_user
from mllm_srec.finetune.evaluation.facet_weights import FEWEST, fit_facet_weights
from mllm_srec.store.records import FusedItem
from mllm_srec.tools.facets import FacetModel, FacetWeights

COLOURS, MATERIALS = ("red", "blue", "green", "black"), ("wool", "oak", "steel", "clay")


def shop(count: int = 200) -> dict[str, FusedItem]:
    """Items of colours and materials drawn apart, which are called the same."""
    rng = np.random.default_rng(0)
    return {
        f"i{row}": FusedItem(
            what="thing",
            seen={"colour": COLOURS[rng.integers(4)]},
            told={"material": MATERIALS[rng.integers(4)]},
        )
        for row in range(count)
    }


def log(items: dict[str, FusedItem], *, switch: bool, users: int = 80) -> pl.DataFrame:
    """Users who like one colour and any material; with `switch` another colour from half on."""
    rng, rows = np.random.default_rng(1), list[dict[str, Any]]()
    by_colour = {
        colour: [name for name, item in items.items() if item.seen["colour"] == colour]
        for colour in COLOURS
    }
    for user in range(users):
        first, second = rng.permutation(4)[:2]
        liked = [
            rng.choice(by_colour[COLOURS[second if switch and place >= 8 else first]])
            for place in range(14)
        ]
        rows += [
            {"user_id": f"u{user}", "item_id": str(name), "position": place}
            for place, name in enumerate(dict.fromkeys(liked))
        ]
    return pl.DataFrame(rows).with_columns(
        rating=pl.lit(None, pl.Float64), timestamp=pl.lit(None, pl.Int64)
    )


@pytest.mark.parametrize("switch", [False, True])
def test_the_attribute_that_users_go_by_gets_the_weight(switch: bool) -> None:
    items = shop()
    split = split_by_user(log(items, switch=switch), list(items))
    fitted = fit_facet_weights(FacetModel.fit(items), split, min_rating=None)
    colour, material = fitted.named["colour"], fitted.named["material"]
    assert sum(colour) > 5 * sum(material)
    # Who changed his colour is told by his latest likes alone.
    assert (colour.lasting < 0.1 * colour.recent) == switch
    # All are called the same: it says nothing.
    assert fitted.named["what"] == (0.0, 0.0)


def test_the_same_seed_gives_the_same_weights() -> None:
    items = shop()
    split = split_by_user(log(items, switch=False), list(items))
    model = FacetModel.fit(items)
    first, second = (fit_facet_weights(model, split, min_rating=None, seed=3) for _ in range(2))
    assert first == second


def test_only_the_training_part_is_read() -> None:
    items = shop()
    split = split_by_user(log(items, switch=False), list(items))
    model, alone = FacetModel.fit(items), replace(split, validation=(), test=(), users=())
    fitted = fit_facet_weights(model, split, min_rating=None)
    assert fit_facet_weights(model, alone, min_rating=None) == fitted


def test_on_few_likes_nothing_is_fitted() -> None:
    items = shop(20)
    split = split_by_user(log(items, switch=False, users=FEWEST // 3 - 1), list(items))
    assert fit_facet_weights(FacetModel.fit(items), split, min_rating=None) == FacetWeights()
    assert fit_facet_weights(FacetModel.fit({}), split, min_rating=None) == FacetWeights()
