"""What a program changes in a home, and what becomes of it."""

import asyncio
import io
import threading
from pathlib import Path

import pytest
from PIL import Image

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.state import Part
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.records import Item
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.facets import FacetModel
from mllm_srec.tools.filters import ItemFilter

from .shop import answer, deploy, score, work_until_stopped

PATIENCE_S = 60
WAGON = Item(item_id="i9", title="Fine wagon", description="Made of wood.", price=9.0)


@pytest.fixture
def srec(deployment: Deployment) -> Recommender:
    return Recommender(deployment)


def ids(srec: Recommender, user: str = "mia", having: tuple[str, ...] = ()) -> list[str]:
    result = srec.recommend(user, conditions=ItemFilter(having=having))
    return [item.item_id for item in result.items]


def red_robot(srec: Recommender) -> Item:
    """The blue robot of steel, i4, as it is not yet."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), (210, 30, 25)).save(picture, "PNG")
    return Item(
        item_id="i4",
        title="Fine robot",
        description="Made of wood.",
        price=20.0,
        picture=srec.deployment.home.pictures.add(picture.getvalue()),
    )


def asked(engine: ScriptedEngine, beginning: str) -> list[str]:
    texts = [prompt.messages[1].text for prompt in engine.generated]
    return [text for text in texts if text.startswith(beginning)]


def test_an_item_that_was_added_can_be_recommended_and_a_deleted_one_cannot(
    srec: Recommender,
) -> None:
    srec.put_items([WAGON])
    assert "i9" in ids(srec)
    assert srec.delete_item("i9")
    assert "i9" not in ids(srec)
    assert not srec.delete_item("i9")


def test_of_two_items_with_one_id_the_last_counts(srec: Recommender) -> None:
    srec.put_items([WAGON, WAGON.model_copy(update={"title": "Fine cart"})])
    home = srec.deployment.home
    assert home.catalogue.items(["i9"])["i9"].title == "Fine cart"
    assert home.catalogue.representations(["i9"])["i9"].fused.what == "cart"


@pytest.mark.parametrize("key", ["0" * 64, "robot.png"])
def test_an_item_with_a_picture_that_is_not_kept_is_not_put(srec: Recommender, key: str) -> None:
    with pytest.raises(WrongCall, match=f"'i9' has the picture '{key}', which is not kept"):
        srec.put_items([WAGON.model_copy(update={"picture": key})])
    assert srec.deployment.home.catalogue.item("i9") is None
    with pytest.raises(WrongCall, match="not kept"):
        asyncio.run(srec.aput_items([WAGON.model_copy(update={"picture": key})]))


def test_a_changed_item_is_described_again_and_found_by_what_it_is_now(
    srec: Recommender, engine: ScriptedEngine
) -> None:
    assert "i4" not in ids(srec, "ben", having=("red",))
    engine.generated.clear()
    srec.put_items([red_robot(srec)])
    assert len(asked(engine, "What does the picture show?")) == 1
    assert len(asked(engine, "Merge")) == 1
    fused = srec.deployment.home.catalogue.representations(["i4"])["i4"].fused
    assert (fused.seen, fused.told) == ({"colour": "red"}, {"material": "wood"})
    assert "i4" in ids(srec, "ben", having=("red",))
    assert "i4" not in ids(srec, "ben", having=("blue",))
    [vector] = engine.embed([fused.line])
    [(nearest, distance)] = srec.deployment.home.representations.nearest(vector, 1)
    assert nearest == "i4"
    assert distance == pytest.approx(0.0, abs=1e-5)


def test_the_windows_that_show_a_changed_item_are_read_again(
    srec: Recommender, engine: ScriptedEngine
) -> None:
    before = srec.recommend("mia")
    engine.generated.clear()
    srec.put_items([red_robot(srec)])
    after = srec.recommend("mia")
    line = {entry.item_id: entry.line for entry in after.history}["i4"]
    assert line != {entry.item_id: entry.line for entry in before.history}["i4"]
    again = asked(engine, "Update what")
    shown = [window for window in after.windows if "i4" in window.item_ids]
    assert len([text for text in again if line in text]) == len(shown) > 0


def test_an_item_that_is_put_as_it_is_asks_the_model_nothing(
    srec: Recommender, engine: ScriptedEngine
) -> None:
    known = srec.deployment.home.catalogue.item("i4")
    assert known is not None
    engine.generated.clear()
    srec.put_items([known])
    assert engine.generated == []


def test_an_asynchronous_program_changes_the_same(srec: Recommender) -> None:
    async def change() -> None:
        await srec.aput_items([WAGON])
        assert "i9" in ids(srec)
        assert await srec.adelete_item("i9")
        said = await srec.afeedback("mia", "never", "green")
        assert await srec.afeedback_of("mia") == [said]
        assert await srec.aundo_feedback("mia") == said
        with pytest.raises(CannotDo):
            await srec.aundo_feedback("mia")
        assert await srec.adelete_user("mia") == 6

    asyncio.run(change())
    assert "i9" not in ids(srec)
    assert srec.recommend("mia").history == ()


def test_of_two_changes_at_once_neither_is_forgotten(
    srec: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, fit, go = threading.Event(), srec.deployment.facets, threading.Event()

    def slow_at_first(without: Part | None = None) -> FacetModel:
        found = fit(without)
        if not read.is_set():
            read.set()
            assert go.wait(PATIENCE_S)
        return found

    monkeypatch.setattr(srec.deployment, "facets", slow_at_first)
    cart = Item(item_id="i10", title="Fine cart", description="Made of wood.")
    first, second = (threading.Thread(target=srec.put_items, args=([x],)) for x in (WAGON, cart))
    first.start()
    assert read.wait(PATIENCE_S)
    second.start()
    # Long enough to be through, if it may; it is to wait for the first.
    second.join(1.0)
    go.set()
    for each in (first, second):
        each.join()
    assert {"i9", "i10"} <= srec.context.facets().rows.keys()


def test_an_item_that_is_deleted_while_it_is_described_stays_deleted(tmp_path: Path) -> None:
    begun, deleted = threading.Event(), threading.Event()

    def slow(prompt: Prompt) -> str:
        if "Fine wagon" in prompt.messages[1].text:
            begun.set()
            assert deleted.wait(PATIENCE_S)
        return answer(prompt)

    with deploy(tmp_path / "home", ScriptedEngine(answer=slow, score=score)) as deployment:
        fuse_missing(deployment)
        srec, home = Recommender(deployment), deployment.home
        putting = threading.Thread(target=srec.put_items, args=[[WAGON]])
        putting.start()
        assert begun.wait(PATIENCE_S)
        assert home.delete_item("i9")
        deleted.set()
        putting.join(PATIENCE_S)
        assert "i9" not in home.catalogue.representations()
        assert "i9" not in home.representations.ids()
        assert "i9" not in ids(srec)


def test_a_cancelled_change_stops_the_engine_and_lets_the_home_go(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(prompt: Prompt) -> str:
        if "Fine wagon" not in prompt.messages[1].text:
            return answer(prompt)
        return work_until_stopped(begun, ended)

    async def cancelled(srec: Recommender) -> None:
        task = asyncio.create_task(srec.aput_items([WAGON]))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with deploy(tmp_path / "home", ScriptedEngine(answer=endless, score=score)) as deployment:
        fuse_missing(deployment)
        asyncio.run(cancelled(Recommender(deployment)))
        assert ended.wait(PATIENCE_S)
        assert not (tmp_path / "home" / "writer.json").exists()
