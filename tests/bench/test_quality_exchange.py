"""What other programs are told of a split, and how their lists are scored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bench.quality.exchange import Asked, Lists, case_name, split_name, write_split
from mllm_srec.finetune.data.splits import Split, split_by_user
from mllm_srec.finetune.evaluation.evaluate import run_trial
from mllm_srec.finetune.evaluation.report import summarize
from mllm_srec.store.records import Interaction, Item

ITEMS = [f"i{number}" for number in range(8)]
LOG = [("u1", 5), ("u1", 2), ("u1", 4), ("u1", 5), ("u2", 4), ("u2", 5), ("u2", 5)]


def split() -> Split:
    places = {"u1": 0, "u2": 0}
    rows = []
    for number, (user, rating) in enumerate(LOG):
        rows.append(
            {
                "user_id": user,
                "item_id": ITEMS[number],
                "position": places[user],
                "rating": float(rating),
            }
        )
        places[user] += 1
    return split_by_user(pl.DataFrame(rows), ITEMS, min_rating=4)


def everybody(one: Split) -> Asked:
    return Asked(one.validation, one.test)


def written(folder: Path) -> Path:
    items = {item_id: Item(item_id=item_id, title=f"Thing {item_id}") for item_id in ITEMS}
    vectors = {item_id: np.ones(3, np.float32) for item_id in ITEMS[:7]}
    one = split()
    write_split(one, everybody(one), folder, items=items, vectors=vectors, min_rating=4)
    return folder


def test_other_programs_see_likes_and_no_test_target(tmp_path: Path) -> None:
    folder = written(tmp_path / "split")
    tables = {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet")}
    assert tables["train"].rows() == [("u1", "i0", 0), ("u2", "i4", 0)]
    assert tables["validation"].rows() == [
        ("u1 after 1", ["i0"], "i2"),
        ("u2 after 0", ["i4"], "i5"),
    ]
    # The dislike of i1 is in no history of likes; validation's target is in that of the test.
    assert tables["test"].rows() == [("u1 after 2", ["i0", "i2"]), ("u2 after 1", ["i4", "i5"])]
    assert tables["items"]["text"][0] == "Title: Thing i0"
    assert tables["items"]["vector"].null_count() == 1


def test_lists_are_ranked_like_scores_of_the_whole_catalogue(tmp_path: Path) -> None:
    lists = pl.DataFrame({"case": ["u1 after 2"], "items": [["i7", "i3"]], "scores": [[2.0, 1.0]]})
    lists.write_parquet(tmp_path / "peer.parquet")
    (tmp_path / "peer.json").write_text(json.dumps({"minutes": 1}))
    peer = Lists.read(tmp_path, "peer", split())
    assert peer.about == {"minutes": 1}
    outcome = run_trial({"peer": peer}, split()).outcomes["peer"]
    # u1's target i3 is second; u2 has no list: its target is level with all that it has not seen.
    assert outcome.ranks.ranks.tolist() == [1, 2.5]
    [row] = summarize([run_trial({"peer": peer}, split())]).rows
    assert row.figures["mrr@5"] == pytest.approx((1 / 2 + 1 / 3.5) / 2)


def test_cases_of_one_user_have_names_of_their_own() -> None:
    history = [Interaction(user_id="u", item_id=f"i{n}", position=n) for n in range(3)]
    assert case_name(history[:2]) != case_name(history)


def test_another_split_or_another_choice_of_cases_has_another_name() -> None:
    whole = split()
    shorter = replace(whole, train=whole.train.head(1))
    assert split_name(whole, everybody(whole)) == split_name(split(), everybody(split()))
    assert split_name(whole, everybody(whole)) != split_name(shorter, everybody(shorter))
    fewer = Asked(whole.validation, whole.test[:1])
    assert split_name(whole, everybody(whole)) != split_name(whole, fewer)
