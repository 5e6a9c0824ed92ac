"""What a program can ask of a recommender besides one plain list."""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from mllm_srec.agent.deadline import within
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.errors import DeadlineExceeded
from mllm_srec.agent.events import Event, NodeEnded, NodeStarted, Recommended
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.recommend_tool import GraphRecommend
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.results import Recommendation
from mllm_srec.llm.engine import LabelScores, Prompt
from mllm_srec.llm.load import Loaded
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.llm.trained import SETTINGS
from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.records import Interaction
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.ranking import Calibration, CombineWeights

from .shop import ITEMS, MODEL, answer, deploy, score, scripted, work_until_stopped

PATIENCE_S = 60


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with deploy(tmp_path / "home", scripted()) as opened:
        fuse_missing(opened)
        yield opened


@pytest.fixture
def srec(deployment: Deployment) -> Recommender:
    return Recommender(deployment)


def ids(result: object) -> list[str]:
    return [item.item_id for item in result.items]  # type: ignore[attr-defined]


def test_a_list_keeps_to_its_conditions_exclusions_and_candidates(srec: Recommender) -> None:
    green = ItemFilter(having=("green",))
    assert set(ids(srec.recommend("ben", conditions=green))) == {"i8"}
    assert "i2" not in ids(srec.recommend("ben", exclude=["i2"]))
    assert set(ids(srec.recommend("ben", candidates=["i4", "i6", "i1"]))) == {"i4", "i6"}


@pytest.mark.parametrize("name", ["history", "candidates", "exclude"])
def test_a_text_is_no_list_of_ids(srec: Recommender, name: str) -> None:
    wrong = {name: "i4"}
    with pytest.raises(WrongCall, match=f"{name} is the text 'i4': give a list of ids"):
        srec.recommend("ben", **wrong)  # type: ignore[arg-type]


def test_ids_may_come_from_an_iterator(srec: Recommender) -> None:
    def each(*ids: str) -> Any:
        return iter(ids)

    assert "i2" not in ids(srec.recommend("ben", exclude=each("i2")))
    assert set(ids(srec.recommend("ben", candidates=each("i4", "i6")))) == {"i4", "i6"}
    history = srec.recommend("guest", history=each("i1", "i2")).history
    assert [entry.item_id for entry in history] == ["i1", "i2"]


def test_a_user_with_half_a_character_is_refused(srec: Recommender) -> None:
    with pytest.raises(WrongCall, match="has halves of characters"):
        srec.recommend("ren\udce9")


@pytest.mark.parametrize("user", [17, None, ""])
def test_a_user_is_named_by_a_text(srec: Recommender, user: Any) -> None:
    with pytest.raises(WrongCall, match=f"the user is {user!r}: give an id"):
        srec.recommend(user)


def test_what_is_no_picture_and_no_stance_is_told(srec: Recommender) -> None:
    wrong: Any = "3"
    with pytest.raises(WrongCall, match="the picture is '3': give the bytes of its file"):
        srec.recommend("mia", picture=wrong)
    with pytest.raises(WrongCall, match="stance is '3': say more, less or never"):
        srec.feedback("mia", wrong, "red")
    assert srec.feedback_of("mia") == []


def test_a_position_that_no_stored_history_has_is_refused(srec: Recommender) -> None:
    wrong: Any
    for wrong in (-1, "3", 2.5):
        told = f"as_of is {wrong!r}: the positions of a history begin at 0"
        with pytest.raises(WrongCall, match=told):
            srec.recommend("ben", as_of=wrong)
    with pytest.raises(WrongCall, match="as_of is 1, a position of the stored history"):
        srec.recommend("guest", history=["i1"], as_of=1)


def test_where_no_candidate_is_left_the_list_says_so(srec: Recommender) -> None:
    told = "Of the candidates none is left that meets the conditions: name others, or ask for less."
    result = srec.recommend("ben", candidates=["i4"], conditions=ItemFilter(having=("red",)))
    assert result.items == ()
    assert result.notes == (told,)


def test_a_large_price_is_told_as_it_was_given(srec: Recommender) -> None:
    with pytest.raises(CannotDo, match=r"from 1234567\.5: the dearest costs 20\.00"):
        srec.recommend("ben", conditions=ItemFilter(min_price=1234567.5))


def test_what_was_closed_says_so_and_may_be_closed_again(tmp_path: Path) -> None:
    srec = Recommender(deploy(tmp_path / "home", scripted()))
    srec.close()
    srec.close()
    with pytest.raises(StoreError, match="home' was closed: open it again"):
        srec.recommend("ben", deadline_s=60)
    with pytest.raises(StoreError, match="was closed"):
        next(iter(srec.stream("ben")))


def test_a_list_is_as_long_as_was_asked_where_the_shop_has_so_many(
    deployment: Deployment,
) -> None:
    few = replace(deployment.settings, candidates=2)
    srec = Recommender(deployment, replace(deployment.context(), settings=few))
    assert len(ids(srec.recommend("ben", k=1))) == 1
    assert set(ids(srec.recommend("ben", k=4))) == {"i2", "i4", "i6", "i8"}


def test_where_all_that_fits_is_owned_the_list_says_so(srec: Recommender) -> None:
    result = srec.recommend("ben", candidates=["i1", "i3"])
    assert result.items == ()
    assert result.notes == ("All that fits stands in the history of 'ben' already.",)
    for item_id in ITEMS:
        srec.deployment.home.catalogue.put_interactions(
            [Interaction(user_id="all", item_id=item_id, position=0, rating=5)]
        )
    assert srec.recommend("all").items == ()
    assert srec.recommend("all").notes == ("All that fits stands in the history of 'all' already.",)


def test_an_empty_shop_says_so(tmp_path: Path) -> None:
    with (
        Home.open(tmp_path / "home", create=True) as home,
        Deployment(home, engine=scripted(), model=MODEL) as deployment,
    ):
        result = Recommender(deployment).recommend("ben")
    assert result.items == ()
    assert result.notes[-1] == "The shop has no items: `srec ingest` takes some in."


def test_a_candidate_that_is_not_in_the_catalogue_is_named(srec: Recommender) -> None:
    with pytest.raises(WrongCall, match="list of candidates names 'i404', which is not"):
        srec.recommend("ben", candidates=["i1", "i404"])


def test_a_model_of_other_prompts_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(MODEL, tmp_path / "model")
    (model / SETTINGS).write_text(json.dumps({"prompts": {"look": "0" * 64}}))
    monkeypatch.setattr(
        "mllm_srec.agent.deployment.load_engine", lambda *_, **__: Loaded(scripted(), None)
    )
    said: list[str] = []
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
    for folder in (MODEL, model):
        with Deployment.open(tmp_path / "home", model=folder, say=said.append) as deployment:
            assert deployment.info.engine == "scripted"
    [line] = said
    assert line.startswith("'model' was trained with other prompts than these (look)")


def test_a_condition_that_nothing_meets_is_an_error_and_no_empty_success(
    srec: Recommender,
) -> None:
    with pytest.raises(CannotDo, match="purple"):
        srec.recommend("ben", conditions=ItemFilter(having=("purple",)))


def test_a_history_of_ids_stands_in_for_a_stored_one(srec: Recommender) -> None:
    result = srec.recommend("guest", history=["i1", "i2", "i3", "i5"])
    assert [entry.item_id for entry in result.history] == ["i1", "i2", "i3", "i5"]


def test_never_rules_a_value_out_until_it_is_taken_back(srec: Recommender) -> None:
    before = ids(srec.recommend("ada"))
    srec.feedback("ada", "never", "blue")
    assert {"i4", "i5", "i6"}.isdisjoint(ids(srec.recommend("ada")))
    srec.undo_feedback("ada")
    assert ids(srec.recommend("ada")) == before


def test_more_and_less_move_the_items_that_have_the_value(srec: Recommender) -> None:
    def place(item_id: str) -> int:
        return ids(srec.recommend("ben")).index(item_id)

    before = place("i8")
    srec.feedback("ben", "more", "green")
    assert place("i8") < before
    srec.feedback("ben", "less", "green")
    assert place("i8") >= before
    [said] = srec.feedback_of("ben")
    assert (said.stance, said.subject, said.origin) == ("less", "green", "Python")


def test_a_wish_does_not_change_the_past(srec: Recommender) -> None:
    before = ids(srec.recommend("ben", as_of=3))
    srec.feedback("ben", "never", "blue")
    assert ids(srec.recommend("ben", as_of=3)) == before


def test_events_tell_of_every_node_and_end_with_the_list(srec: Recommender) -> None:
    events = list(srec.stream("mia", k=2))
    started = [event.node for event in events if isinstance(event, NodeStarted)]
    ended = [event.node for event in events if isinstance(event, NodeEnded)]
    assert started == ended
    assert isinstance(events[-1], Recommended)
    assert tuple(started) == events[-1].result.path


def test_an_asynchronous_program_gets_the_same(srec: Recommender) -> None:
    asked = [Request("mia"), Request.of("guest", history=["i1"])]

    async def all_forms() -> tuple[Recommendation, list[Event], list[Recommendation]]:
        result = await srec.arecommend("mia", k=2, exclude=["i7"])
        events = [event async for event in srec.astream("mia", k=2)]
        return result, events, await srec.arecommend_many(asked, k=2)

    result, events, many = asyncio.run(all_forms())
    assert ids(result) == ids(srec.recommend("mia", k=2, exclude=["i7"]))
    assert isinstance(events[-1], Recommended)
    assert list(map(ids, many)) == list(map(ids, srec.recommend_many(asked, k=2)))


def test_many_users_are_answered_in_the_order_of_the_requests(srec: Recommender) -> None:
    results = srec.recommend_many(["ben", Request("mia")], k=1)
    assert [result.user for result in results] == ["ben", "mia"]


def test_a_length_that_no_list_has_is_refused_wherever_it_is_asked(srec: Recommender) -> None:
    with pytest.raises(WrongCall, match="k is 0"):
        srec.recommend("mia", k=0)
    with pytest.raises(WrongCall, match="k is 0"):
        list(srec.stream("mia", k=0))
    with pytest.raises(WrongCall, match="k is 0"):
        srec.recommend_many([], k=0)
    for k in ("3", 2.5, 101):
        with pytest.raises(WrongCall, match="as a whole number"):
            srec.recommend("mia", k=cast("int", k))


def test_a_deadline_ends_the_wait_with_an_error_that_says_so(tmp_path: Path) -> None:
    def slow(prompt: Prompt) -> str:
        if prompt.messages[1].text.startswith("Update what"):
            time.sleep(1.0)
        return answer(prompt)

    with deploy(tmp_path / "home", ScriptedEngine(answer=slow, score=score)) as deployment:
        fuse_missing(deployment)
        srec = Recommender(deployment)
        for wait in waits(srec, 0.2):
            with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
                wait()
        assert srec.recommend("mia", k=1, deadline_s=PATIENCE_S).items


def waits(srec: Recommender, deadline_s: float) -> list[Callable[[], object]]:
    """Every way to wait for a list so long."""
    asked = [Request("mia"), Request("ben")]

    async def left(events: AsyncIterator[Event]) -> None:
        async for _ in events:
            pass

    return [
        lambda: srec.recommend("mia", deadline_s=deadline_s),
        lambda: srec.recommend_many(asked, deadline_s=deadline_s),
        lambda: list(srec.stream("mia", deadline_s=deadline_s)),
        lambda: asyncio.run(srec.arecommend("mia", deadline_s=deadline_s)),
        lambda: asyncio.run(srec.arecommend_many(asked, deadline_s=deadline_s)),
        lambda: asyncio.run(left(srec.astream("mia", deadline_s=deadline_s))),
    ]


@pytest.mark.parametrize("seconds", [-1, float("nan"), "3"])
def test_a_deadline_that_no_wait_has_is_refused(srec: Recommender, seconds: Any) -> None:
    with pytest.raises(WrongCall, match=f"deadline_s is {seconds!r}: give the seconds"):
        srec.recommend("mia", deadline_s=seconds)
    with pytest.raises(WrongCall, match="deadline_s is"):
        srec.recommend_many(["mia"], deadline_s=seconds)


def test_an_error_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    async def slow_line() -> None:
        raise TimeoutError("the line is slow")

    with pytest.raises(TimeoutError, match="the line is slow"):
        asyncio.run(within(PATIENCE_S, slow_line()))


@dataclass
class Noisy(ScriptedEngine):
    """Moves a margin by .06 nats where prompts go together."""

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        moved = 0.06 * (len(prompts) > 1)
        return [
            LabelScores({**each.logprobs, "No": each.logprobs["No"] - moved}, each.usage)
            for each in super().score_labels(prompts, labels)
        ]


def test_a_list_says_how_far_the_engines_noise_moves_its_scores(tmp_path: Path) -> None:
    real = replace(ScriptedEngine().info, engine="vllm")
    noisy = Noisy(answer=answer, score=lambda *_: {"Yes": -0.1, "No": -2.3}, info=real)
    with deploy(tmp_path / "home", noisy) as deployment:
        fuse_missing(deployment)
        weights = CombineWeights(model=0.5, calibration=Calibration(a=3.0))
        srec = Recommender(deployment, deployment.context(weights=weights))
        # The same item, scored with others and alone: only the noise tells the two apart.
        together = {each.item_id: each.score for each in srec.recommend("ben").items}
        result = srec.recommend("ben", candidates=["i8"])
        assert deployment.noise_floor == pytest.approx(0.06)
    assert result.noise_floor == pytest.approx(0.5 * 3.0 * 0.06)
    assert result.to_dict()["noise_floor"] == result.noise_floor
    assert abs(result.items[0].score - together["i8"]) > 0


def test_an_engine_without_noise_says_so(srec: Recommender) -> None:
    assert srec.recommend("ben").noise_floor == 0.0


def endless(begun: threading.Event, ended: threading.Event) -> ScriptedEngine:
    """An engine that describes items, and then works until it is stopped."""

    def reply(prompt: Prompt) -> str:
        if not prompt.messages[1].text.startswith("Update what"):
            return answer(prompt)
        return work_until_stopped(begun, ended)

    return ScriptedEngine(answer=reply, score=score)


@pytest.mark.parametrize("way", ["deadline", "left stream", "cancelled task"])
def test_who_stops_waiting_stops_the_work_of_the_engine(tmp_path: Path, way: str) -> None:
    begun, ended = threading.Event(), threading.Event()
    with deploy(tmp_path / "home", endless(begun, ended)) as deployment:
        fuse_missing(deployment)
        srec = Recommender(deployment)
        if way == "deadline":
            deadline_s = 0.5
            while not begun.is_set():  # a busy machine may be late
                with pytest.raises(DeadlineExceeded):
                    srec.recommend("mia", deadline_s=deadline_s)
                deadline_s *= 2
        elif way == "left stream":
            for event in srec.stream("mia"):
                if event == NodeStarted("summarize_preferences"):
                    assert begun.wait(PATIENCE_S)
                    break
        else:

            async def cancelled() -> None:
                task = asyncio.create_task(srec.arecommend("mia"))
                await asyncio.to_thread(begun.wait, PATIENCE_S)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

            asyncio.run(cancelled())
        assert ended.wait(PATIENCE_S)


def test_a_tool_that_is_stopped_has_stopped_its_graph_too(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def stopped(tool: GraphRecommend) -> list[str]:
        call = asyncio.create_task(tool("mia", k=1, conditions=ItemFilter()))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return [name for each in asyncio.all_tasks() if "Chain" in (name := repr(each.get_coro()))]

    with deploy(tmp_path / "home", endless(begun, ended)) as deployment:
        fuse_missing(deployment)
        tool = GraphRecommend(Recommender(deployment))
        assert deployment.run(stopped(tool)) == []
        assert ended.wait(PATIENCE_S)
