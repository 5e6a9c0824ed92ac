"""Scores on what a model itself says of a history, as they stand when it serves."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from mllm_srec.finetune.data.records import AnyRecord, RecordGroup, read_records
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.telling import Teller
from mllm_srec.finetune.data.write import write_data
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from tests.agent.shop import ITEMS, answer, fill


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home", create=True) as opened:
        fill(opened)
        yield opened


def write(
    home: Home, out: Path, said: Callable[[Prompt], str] | None = None, told: int = 1
) -> list[tuple[str, AnyRecord]]:
    """The records with their origins."""
    settings = DataSettings(messages=0, validation_share=0.0, told_groups_per_user=told)
    teller = None if said is None else Teller(ScriptedEngine(answer=said))
    labels = out.with_suffix(".parquet")
    names = ["item_id", "what", "colour", "material"]
    pl.DataFrame(
        [(item_id, *words) for item_id, words in ITEMS.items()], names, orient="row"
    ).write_parquet(labels)
    write_data(home, labels, out, settings, teller=teller)
    origins = json.loads((out / "origins.json").read_text())["train"]
    return list(zip(origins, read_records(out / "train.jsonl"), strict=True))


def groups(made: list[tuple[str, AnyRecord]]) -> dict[str, list[RecordGroup]]:
    found: dict[str, list[RecordGroup]] = {}
    for origin, record in made:
        if isinstance(record, RecordGroup):
            found.setdefault(origin, []).append(record)
    return found


def test_so_many_scores_of_a_user_stand_on_what_the_model_says(home: Home, tmp_path: Path) -> None:
    counted = groups(write(home, tmp_path / "counted"))
    told = groups(write(home, tmp_path / "told", answer, told=1))
    assert counted.keys() == told.keys()
    assert any(len(each) > 1 for each in counted.values())
    for user, each in told.items():
        assert sum(group not in counted[user] for group in each) == 1
    every = groups(write(home, tmp_path / "every", answer, told=99))
    assert all(group not in counted[user] for user, each in every.items() for group in each)


def test_what_is_taught_of_histories_stays_counted(home: Home, tmp_path: Path) -> None:
    def others(made: list[tuple[str, AnyRecord]]) -> set[str]:
        return {r.model_dump_json() for _, r in made if not isinstance(r, RecordGroup)}

    counted = write(home, tmp_path / "counted")
    assert others(write(home, tmp_path / "told", answer, told=99)) == others(counted)


def test_where_the_model_says_nothing_usable_the_counted_forms_stand(
    home: Home, tmp_path: Path
) -> None:
    counted = groups(write(home, tmp_path / "counted"))
    nonsense = groups(write(home, tmp_path / "told", lambda prompt: "I like turtles.", told=99))
    assert {user: len(each) for user, each in nonsense.items()} == {
        user: len(each) for user, each in counted.items()
    }
    assert all(group in counted[user] for user, each in nonsense.items() for group in each)
