"""A home of which only some items have a description: an ingest that broke off, or still runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mllm_srec.agent.conversation.conversation import Conversations
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import fuse
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.toolbox import Toolbox
from mllm_srec.finetune.data.splits import split_home
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.chain import ChainOptions, evaluate_chain
from mllm_srec.finetune.evaluation.graph_ranking import GraphRanker
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.tools.errors import ToolError

from .conversation.talk import engine as talking
from .shop import ITEMS, deploy

DESCRIBED = ("i1", "i2", "i3", "i4", "i5", "i6", "i7")
"""All but `i8`, of which nobody knows yet that it is a green duck of rubber."""


def describe(deployment: Deployment, item_ids: tuple[str, ...]) -> Recommender:
    """Describe some items, as an ingest does that is killed after them."""
    context = deployment.context()
    items = list(deployment.home.catalogue.items(item_ids).values())
    deployment.run(fuse(context, items))
    return Recommender(deployment)


@pytest.fixture
def deployment(tmp_path: Path, engine: ScriptedEngine) -> Iterator[Deployment]:
    with deploy(tmp_path / "home", engine) as opened:
        yield opened


@pytest.fixture
def srec(deployment: Deployment) -> Recommender:
    return describe(deployment, DESCRIBED)


def test_an_item_without_a_description_is_no_candidate_and_is_counted(srec: Recommender) -> None:
    result = srec.recommend("mia")
    assert [item.item_id for item in result.items] == ["i7"]
    assert result.notes == (
        "1 of 8 items has no description yet and was left out: run `srec ingest` again.",
    )


def test_items_left_out_make_room_for_others(deployment: Deployment) -> None:
    srec = describe(deployment, ("i1", "i2", "i8"))
    result = srec.recommend("nobody", k=8)
    assert {item.item_id for item in result.items} == {"i1", "i2", "i8"}
    assert any(note.startswith("5 of 8 items have no description yet") for note in result.notes)


def test_named_candidates_without_a_description_are_left_out_and_counted(
    srec: Recommender,
) -> None:
    result = srec.recommend("mia", candidates=["i7", "i8"])
    assert [item.item_id for item in result.items] == ["i7"]
    assert result.notes[0].startswith("1 of 2 items has no description yet")
    alone = srec.recommend("mia", candidates=["i8"])
    assert alone.items == ()
    assert alone.notes[0].startswith("1 of 1 items has no description yet")


def test_a_description_that_another_process_makes_is_seen_at_once(
    srec: Recommender, deployment: Deployment
) -> None:
    describe(deployment, ("i8",))
    result = srec.recommend("mia")
    assert {item.item_id for item in result.items} == {"i7", "i8"}


def test_an_item_that_another_process_deleted_is_no_candidate(
    srec: Recommender, deployment: Deployment
) -> None:
    deployment.home.delete_item("i7")
    assert srec.recommend("mia").items == ()


def test_a_home_that_is_fully_described_has_no_note(deployment: Deployment) -> None:
    assert describe(deployment, tuple(ITEMS)).recommend("mia").notes == ()


def test_every_tool_answers(srec: Recommender) -> None:
    box = Toolbox(srec, "mia", origin="test")
    run = srec.deployment.run
    why = run(box.explain_item("i8", ["i7"]))
    assert why["suggestion"] is None
    assert why["why_not"] == "it has no description yet: run `srec ingest` again"
    assert run(box.explain_item("i7", ["i8"]))["suggestion"]["item_id"] == "i7"
    assert run(box.compare_items("i7", "i8"))["second"]["line"] == ""
    assert run(box.item_details("i8"))["line"] == ""
    assert run(box.recommend(k=5))["notes"][0].startswith("1 of 8 items")
    assert run(box.user_profile())["preference"]
    found = run(box.search_text("green duck"))["items"]
    assert "i8" not in [item["item_id"] for item in found]
    with pytest.raises(ToolError, match="no description yet"):
        run(box.similar_items("i8"))


def test_a_chat_says_what_it_lacks_and_goes_on(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", talking()) as deployment:
        srec = describe(deployment, DESCRIBED)
        with Conversations(srec) as talks, talks.begin("mia") as chat:
            listed = chat.say("what should I get")
            assert [item.item_id for item in listed.items] == ["i7"]
            assert "1 of 8 items has no description yet" in listed.answer
            assert "it has no description yet" in chat.say("why not the duck").answer
            assert "only Fine drum" in chat.say("compare duck and drum").answer
            for said in ("find a blue ball", "more like the first", "less rubber", "why", "undo"):
                assert not chat.say(said).answer.startswith("Sorry")


def test_what_measures_refuses_such_a_home(deployment: Deployment, srec: Recommender) -> None:
    refusal = "1 of 8 items has no description yet: run `srec ingest` again"
    split = split_home(deployment.home, min_rating=4.0)
    with pytest.raises(FinetuneError, match=refusal):
        GraphRanker(deployment, split)
    with pytest.raises(FinetuneError, match=refusal):
        evaluate_chain(srec, ChainOptions())
