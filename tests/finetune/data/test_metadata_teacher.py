"""Training data for a catalogue that nobody annotated: descriptions from its text fields."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm_srec.agent.nodes.fuse_items import VisualAnswer, check_fused, compact
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.data.metadata_teacher import annotate_items
from mllm_srec.finetune.data.records import TASKS, AnyRecord, Record, RecordGroup, read_records
from mllm_srec.finetune.data.rule_records import annotated_histories
from mllm_srec.finetune.data.settings import DataSettings, SplitHow
from mllm_srec.finetune.data.splits import split_home
from mllm_srec.finetune.data.write import write_data
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Interaction, Item, Representation

GENRES = {
    "m1": ("Toy Story (1995)", ("Movies", "Adventure", "Animation", "Comedy")),
    "m2": ("Heat (1995)", ("Movies", "Crime", "Thriller")),
    "m3": ("Casino (1995)", ("Movies", "Crime", "Drama")),
    "m4": ("Balto (1995)", ("Movies", "Adventure", "Animation")),
    "m5": ("Powder", ("Movies", "Drama", "Sci-Fi")),
    "m6": ("Se7en (1995)", ("Movies", "Mystery", "Thriller")),
}
MOVIES = {
    item_id: Item(item_id=item_id, title=title, categories=genres)
    for item_id, (title, genres) in GENRES.items()
}
LOGS = {
    "eve": ["m2", "m3", "m6", "m5"],
    "tim": ["m1", "m4", "m5", "m2", "m3"],
    "zoe": ["m1", "m2", "m3", "m4", "m5"],
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home", create=True) as opened:
        opened.catalogue.put_items(MOVIES.values())
        opened.catalogue.put_interactions(
            Interaction(user_id=user, item_id=item_id, position=position, rating=4.5)
            for user, log in LOGS.items()
            for position, item_id in enumerate(log)
        )
        yield opened


def written(home: Home, out: Path) -> list[AnyRecord]:
    write_data(home, None, out, DataSettings(messages=0, validation_share=0.0))
    return list(read_records(out / "train.jsonl"))


def test_a_film_is_described_by_genre_and_year_without_what_all_films_share() -> None:
    described = {item_id: each.fused for item_id, each in annotate_items(MOVIES, {}).items()}
    assert described["m2"] == FusedItem(what="Thriller", told={"category": "Crime", "year": "1995"})
    assert described["m1"].line == "Comedy: Adventure, Animation, 1995"
    assert described["m5"].told == {"category": "Drama"}


def test_brand_price_and_keywords_are_told() -> None:
    item = Item(
        item_id="b", title="Jogger", brand="Vela", categories=("Baby", "Strollers"), price=20.0,
        keywords="foldable, light; foldable, new",
    )  # fmt: skip
    [annotation] = annotate_items({"b": item}, {}).values()
    assert annotation.fused.line == ("Strollers: Baby, Vela, mid, foldable, light, new")


def test_an_item_without_text_is_unknown() -> None:
    [annotation] = annotate_items({"x": Item(item_id="x")}, {}).values()
    assert annotation.fused == FusedItem(what="unknown")


def test_what_the_home_sees_in_a_picture_is_kept() -> None:
    look = VisualAnswer(what="poster", seen={"colour": "red"})
    [annotation] = annotate_items({"m2": MOVIES["m2"]}, {"m2": look}).values()
    assert annotation.look == look
    assert annotation.fused.what == "poster"
    assert annotation.fused.seen == {"colour": "red"}
    assert "Crime" in annotation.fused.told.values()


words = st.text(max_size=120)


@given(
    st.lists(
        st.builds(
            Item,
            item_id=st.just("i"),
            title=words,
            brand=words,
            categories=st.lists(words, max_size=6).map(tuple),
            keywords=words,
            description=words,
            price=st.none() | st.floats(0, 1e6),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_description_is_supported_by_its_text(items: list[Item]) -> None:
    catalogue = {str(number): item for number, item in enumerate(items)}
    for item_id, annotation in annotate_items(catalogue, {}).items():
        answer = compact(annotation.fused.model_dump())
        found = check_fused(answer, catalogue[item_id], None)
        # What two fields tell alike is told once.
        assert {value.casefold() for value in found.facets()} == {
            value.casefold() for value in annotation.fused.facets()
        }


def test_data_are_made_without_labels(home: Home, tmp_path: Path) -> None:
    records = written(home, tmp_path / "sft")
    tasks = Counter(record.task for record in records)
    assert set(tasks) == {
        "fuse", "summarize_preferences", "profile_user", "explain", "score_target"
    }  # fmt: skip
    profiles = [r for r in records if isinstance(r, Record) and r.task == "profile_user"]
    answers = [json.loads(record.completion[0].text) for record in profiles]
    assert any("Crime" in answer["loves"] for answer in answers)


def test_a_user_who_has_seen_nearly_all_gets_the_few_others_there_are(
    home: Home, tmp_path: Path
) -> None:
    groups = [r for r in written(home, tmp_path / "sft") if isinstance(r, RecordGroup)]
    assert groups
    for group in groups:
        others = [branch.label for branch in group.branches].count("No")
        assert 1 <= others <= 4


def test_what_the_home_saw_is_taught_as_it_will_be_asked(home: Home, tmp_path: Path) -> None:
    seen = FusedItem(what="poster", seen={"colour": "red"}, told={"category": "wrong"})
    home.catalogue.put_representations([Representation(item_id="m2", fused=seen, key="k")])
    fuses = [r for r in written(home, tmp_path / "sft") if r.task == "fuse"]
    texts = [r.prompt[1].text for r in fuses if isinstance(r, Record)]
    assert any('"colour":"red"' in text and "Heat" in text for text in texts)


def test_items_with_one_picture_are_on_one_side(home: Home, tmp_path: Path) -> None:
    items = [
        Item(item_id=f"p{n:02}", title=f"Poster {n}", picture=f"{n // 20:064x}") for n in range(40)
    ]
    home.catalogue.put_items(items)
    write_data(home, None, tmp_path / "sft", DataSettings(messages=0, validation_share=0.5, seed=3))
    origins = json.loads((tmp_path / "sft" / "origins.json").read_text())
    sides = {name: {x for x in each if x.startswith("item:p")} for name, each in origins.items()}
    assert not sides["train"] & sides["validation"]
    first = {f"item:p{n:02}" for n in range(20)}
    assert first <= sides["train"] or first <= sides["validation"]


def test_a_small_shop_measures_every_task_that_two_teach(home: Home, tmp_path: Path) -> None:
    # So small a share that chance alone would measure nothing.
    write_data(home, None, tmp_path / "sft", DataSettings(messages=32, validation_share=1e-9))
    tasks, origins = dict[str, set[str]](), json.loads((tmp_path / "sft/origins.json").read_text())
    for name in origins:
        tasks[name] = {each.task for each in read_records(tmp_path / "sft" / f"{name}.jsonl")}
    assert tasks["train"] == tasks["validation"] == {*TASKS} - {"look"}
    assert not {*origins["train"]} & {*origins["validation"]}


def test_an_empty_home_has_nothing_to_teach(tmp_path: Path) -> None:
    with (
        Home.open(tmp_path / "home", create=True) as empty,
        pytest.raises(FinetuneError, match="nothing to learn from"),
    ):
        write_data(empty, None, tmp_path / "sft", DataSettings())


@pytest.mark.parametrize("targets", [1, 2])
def test_nothing_is_learned_from_the_cases_of_the_split_asked_for(home: Home, targets: int) -> None:
    split = split_home(home, min_rating=4.0, targets=targets)
    held = {(case.user_id, case.target) for case in (*split.test, *split.validation)}
    assert len(held) == 3 * (targets + 1)
    told = annotated_histories(home, set(MOVIES), Settings(), SplitHow("user", targets))
    learned = {(user, event["item_id"]) for user, events in told.items() for event in events}
    assert learned
    assert not learned & held
