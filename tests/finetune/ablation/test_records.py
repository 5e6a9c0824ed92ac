"""Every variant is trained on the prompts that serving sends it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.nodes.fuse_items import without_text
from mllm_srec.agent.nodes.load_user import events
from mllm_srec.agent.nodes.summarize_preferences import windows
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.finetune.ablation.records import later_steps
from mllm_srec.finetune.ablation.variants import VARIANTS, Variant
from mllm_srec.finetune.data.records import Record, RecordGroup, Turn, turns
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from mllm_srec.store.records import DAY_S, FusedItem, Interaction, Item
from tests.agent.shop import ITEMS, MODEL, answer, fill, score, scripted

LONG = "zoe"
"""A user whose training part is longer than a window."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home", create=True) as opened:
        fill(opened)
        opened.catalogue.put_interactions(
            Interaction(
                user_id=LONG,
                item_id=item_id,
                position=position,
                rating=1 if item_id == "i4" else 5,
                timestamp=1_700_000_000 + position * DAY_S,
            )
            for position, item_id in enumerate(ITEMS)
        )
        with Deployment(opened, engine=scripted(), model=MODEL) as deployment:
            fuse_missing(deployment)
            yield opened


def silent_on_users(prompt: Prompt) -> str:
    """Leave users to the counted forms, which are what is taught."""
    about_items = prompt.messages[1].text.startswith(("What does the picture", "Merge"))
    return answer(prompt) if about_items else "no"


def taught(home: Home, variant: Variant, task: str, user: str) -> set[tuple[tuple[str, ...], str]]:
    """Prompts, with what pictures stand in them, and answers."""
    settings = DataSettings(windows_per_user=20, profiles_per_user=20, groups_per_user=20)
    found = set()
    for origin, record in later_steps(home, variant, settings):
        if origin == f"user:{user}" and record.task == task:
            for one in record.expand() if isinstance(record, RecordGroup) else [record]:
                found.add((as_text(one.prompt), one.completion[0].text))
    return found


def as_text(prompt: tuple[Turn, ...]) -> tuple[str, ...]:
    return tuple(f"{turn.role}\0{turn.pictures}\0{turn.text}" for turn in prompt)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_trained_prompts_are_served_ones(home: Home, variant: Variant) -> None:
    engine = ScriptedEngine(answer=silent_on_users, score=score)
    history = events(home.catalogue.history(LONG), variant.chain)
    asked_at = [Request(LONG, as_of=cut, now=history[cut]["timestamp"]) for cut in range(1, 8)]
    with Deployment(home, engine=engine, model=MODEL, settings=variant.chain) as deployment:
        Recommender(deployment).rank_many(asked_at)
    scored = {as_text(turns(prompt)) for prompt in engine.scored}
    asked = {as_text(turns(prompt)) for prompt in engine.generated}
    for task, served in (
        ("score_target", scored),
        ("summarize_preferences", asked),
        ("profile_user", asked),
    ):
        prompts = {prompt for prompt, _ in taught(home, variant, task, LONG)}
        assert bool(prompts) == (task in variant.tasks)
        assert prompts <= served


def texts(home: Home, name: str, task: str = "score_target") -> list[str]:
    return [prompt[-1] for prompt, _ in taught(home, VARIANTS[name], task, LONG)]


def test_each_variant_leaves_its_part_out(home: Home) -> None:
    assert all("red" not in text and "wood" in text for text in texts(home, "no-picture"))
    said = texts(home, "no-text")
    assert all("wood" not in text and "rubber" not in text for text in said)
    assert any("red" in text for text in said)
    assert all("Profile of the user: nothing stable yet" in t for t in texts(home, "no-profile"))
    raw = texts(home, "raw-history")
    assert all("these interactions, oldest first\n- liked" in text for text in raw)
    assert any("Preference lately: strong" in text for text in texts(home, "full"))


def test_one_flat_history_takes_the_place_of_the_windows(home: Home) -> None:
    windows = [text.count("\n- ") for text in texts(home, "full", "summarize_preferences")]
    flat = [text.count("\n- ") for text in texts(home, "no-temporal", "summarize_preferences")]
    assert max(windows) == 5
    assert max(flat) == len(ITEMS) - 2
    assert not any("fallen from" in t for t in texts(home, "no-temporal", "summarize_preferences"))


def test_a_long_history_is_told_by_its_latest_part() -> None:
    chain = VARIANTS["no-temporal"].chain
    assert windows(12, chain) == [(0, 12)]
    assert windows(40, chain) == [(10, 40)]
    assert windows(0, chain) == []


def test_without_text_an_item_without_a_picture_is_unknown() -> None:
    fused = FusedItem(what="ball", seen={}, told={"colour": "red"})
    assert without_text(fused, Item(item_id="i1", title="Red ball")) == FusedItem(what="unknown")


def test_the_picture_that_is_shown_is_the_target_s(home: Home) -> None:
    pictures = {item_id: item.picture for item_id, item in home.catalogue.items().items()}
    settings = DataSettings(groups_per_user=20)
    records = [
        record
        for _, record in later_steps(home, VARIANTS["scoring-picture"], settings)
        if record.task == "score_target"
    ]
    assert records
    for record in records:
        assert isinstance(record, Record)
        [what] = [
            item_id
            for item_id, (what, *_) in ITEMS.items()
            if f"\nItem: {what}:" in record.prompt[-1].text
        ]
        assert record.images == (pictures[what],)
        assert record.prompt[-1].pictures == 1
    assert {record.completion[0].text for record in records} == {"Yes", "No"}  # type: ignore[union-attr]
