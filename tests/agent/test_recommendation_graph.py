from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.graph import NODES, build_graph
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.llm.engine import Answer, EngineLost, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.errors import ItemGone
from mllm_srec.store.records import DAY_S, Interaction, Item
from mllm_srec.store.traces import TraceStore

from .shop import ITEMS, answer, deploy, score, scripted


def asked(engine: ScriptedEngine, beginning: str) -> int:
    return sum(p.messages[1].text.startswith(beginning) for p in engine.generated)


def test_a_recommendation_has_everything_that_the_contract_names(deployment: Deployment) -> None:
    result = Recommender(deployment).recommend("mia", k=2)
    data = result.to_dict()
    assert [
        set(item) >= {"item_id", "score", "retrieval_rank", "reason", "evidence"}
        for item in data["items"]
    ] == [True, True]
    assert data["user"] == "mia"
    assert data["engine"] == "scripted"
    assert data["preference"].startswith("strong")
    assert data["fallbacks"] == 0
    assert data["seconds"]["total"] > 0
    assert {node.__name__ for node in NODES} <= set(data["seconds"])
    assert result.path[:3] == ("load_user", "fuse_items", "summarize_preferences")
    assert len(result.trace_id) == 32


def test_no_seen_item_and_none_outside_the_catalogue_is_recommended(deployment: Deployment) -> None:
    items = {item.item_id for item in Recommender(deployment).recommend("mia", k=10).items}
    assert items == {"i7", "i8"}
    assert items <= set(ITEMS)


def test_reasons_cite_items_of_the_history(deployment: Deployment) -> None:
    result = Recommender(deployment).recommend("mia", k=2)
    held = {entry.item_id for entry in result.history}
    assert any(item.evidence for item in result.items)
    assert all(set(item.evidence) <= held for item in result.items)


def test_the_same_request_gives_the_same_list_and_asks_the_model_nothing(
    deployment: Deployment, engine: ScriptedEngine
) -> None:
    recommender = Recommender(deployment)
    first = recommender.recommend("mia", k=2)
    calls = len(engine.generated), len(engine.scored)
    second = recommender.recommend("mia", k=2)
    assert second.items == first.items
    assert (len(engine.generated), len(engine.scored)) == calls


def test_two_fresh_homes_give_the_same_list_by_the_same_steps(tmp_path: Path) -> None:
    results = []
    for name in ("one", "other"):
        engine = scripted()
        with deploy(tmp_path / name, engine) as opened:
            fuse_missing(opened)
            results.append((Recommender(opened).recommend("mia", k=2), engine.scored))
    (one, asked_one), (other, asked_other) = results
    assert (one.items, one.profile, one.windows) == (other.items, other.profile, other.windows)
    assert asked_one == asked_other


def test_one_new_interaction_costs_one_window_the_profile_and_the_scoring(
    deployment: Deployment, engine: ScriptedEngine
) -> None:
    Recommender(deployment).recommend("ben", k=2)
    engine.generated.clear()
    engine.scored.clear()
    new = Interaction(
        user_id="ben", item_id="i2", position=4, rating=5, timestamp=1_700_000_000 + 7 * DAY_S
    )
    deployment.home.catalogue.put_interactions([new])
    result = Recommender(deployment).recommend("ben", k=2)
    assert asked(engine, "Update what") == 1
    # What was asked before, in the same words about the same taste, is not asked again.
    profiles = asked(engine, "Describe the stable taste")
    reasons = asked(engine, "Say in one sentence")
    assert profiles <= 1
    assert reasons <= len(result.items) == 2
    assert len(engine.generated) == 1 + profiles + reasons
    candidates = [prompt.messages[1].text.rpartition("Item: ")[2] for prompt in engine.scored]
    assert sorted(text.partition(":")[0] for text in candidates) == ["ball", "duck", "robot"]


def test_an_item_without_picture_and_text_goes_through_the_chain(tmp_path: Path) -> None:
    def of_nothing(prompt: Prompt) -> str:
        text = prompt.messages[1].text
        if text.startswith("Merge") and "Title: Fine" not in text:
            return compact({"what": "unknown", "seen": {}, "told": {}, "conflicts": {}})
        return answer(prompt)

    with deploy(tmp_path / "home", ScriptedEngine(answer=of_nothing, score=score)) as deployment:
        catalogue = deployment.home.catalogue
        catalogue.put_items([Item(item_id="bare"), Item(item_id="blank")])
        bare = Interaction(user_id="mia", item_id="bare", position=6, rating=5)
        catalogue.put_interactions([bare])
        assert fuse_missing(deployment) == (10, 0)
        result = Recommender(deployment).recommend("mia", k=10)
    assert result.history[-1].item_id == "bare"
    assert {item.item_id for item in result.items} == {"i7", "i8", "blank"}
    assert all(item.reason for item in result.items)
    assert result.fallbacks == 0


def test_an_unknown_user_gets_a_list_without_history_and_is_told_so(deployment: Deployment) -> None:
    result = Recommender(deployment).recommend("nobody", k=3)
    assert result.path == ("load_user", "retrieve_candidates", "score_targets", "explain")
    assert len(result.items) == 3
    assert "not in the log" in result.notes[0]
    assert result.preference


def test_a_reason_without_a_history_says_how_many_liked_the_item(deployment: Deployment) -> None:
    items = Recommender(deployment).recommend("nobody", k=len(ITEMS)).items
    reasons = {item.item_id: item.reason.partition(";")[0] for item in items}
    assert reasons["i1"] == "Liked by 2 users"
    assert reasons["i7"] == "Liked by 1 user"
    # A dislike is no reason.
    for item_id in ("i4", "i8"):
        assert reasons[item_id].startswith("Nobody has liked it yet")


def test_a_cold_user_goes_through_the_whole_chain_with_a_note(deployment: Deployment) -> None:
    result = Recommender(deployment).recommend("ada", k=2)
    assert "profile_user" in result.path
    assert "few interactions" in result.notes[0]


def test_an_empty_history_is_a_path_of_its_own(deployment: Deployment) -> None:
    result = Recommender(deployment).recommend("mia", k=2, as_of=0)
    assert "no interactions yet" in result.notes[0]
    assert len(result.items) == 2


def test_the_future_of_a_point_in_time_is_not_read(deployment: Deployment) -> None:
    result = Recommender(deployment).recommend("mia", k=2, as_of=2)
    assert [entry.item_id for entry in result.history] == ["i1", "i2"]


def test_a_given_history_with_an_unknown_item_is_refused_by_name(deployment: Deployment) -> None:
    given = (Interaction(user_id="mia", item_id="i404", position=0),)
    with pytest.raises(ValueError, match="'i404', which is not in the catalogue"):
        Recommender(deployment).rank_many([Request("mia", history=given)])


@dataclass
class Shrinking(ScriptedEngine):
    """Sees an item deleted, as by another process, while it answers a step."""

    delete: Callable[[], object] = lambda: None
    during: str = ""

    def generate(self, prompts: Sequence[Prompt], **options: Any) -> list[Answer]:
        if prompts[0].messages[1].text.startswith(self.during):
            self.delete()
        return super().generate(prompts, **options)


@pytest.mark.parametrize(
    ("during", "gone"),
    [
        ("Update what", "i2"),  # a part of the history, before the next window and the profile
        ("Describe the stable taste", "i2"),  # before the reasons
        ("Say in one sentence", "i2"),  # before the titles
        ("Say in one sentence", "i7"),  # recommended
    ],
)
def test_an_item_deleted_meanwhile_is_named_and_the_same_call_goes_without_it(
    during: str, gone: str, tmp_path: Path
) -> None:
    engine = Shrinking(answer=answer, score=score)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        srec = Recommender(deployment)
        engine.during, engine.delete = during, lambda: deployment.home.delete_item(gone)
        with pytest.raises(ItemGone, match=f"'{gone}' was deleted .*: ask again"):
            srec.recommend("mia", k=2)
        again = srec.recommend("mia", k=2)
    assert gone not in {each.item_id for each in again.items}
    assert gone not in {each.item_id for each in again.history}


@dataclass
class Flaky(ScriptedEngine):
    """Loses the engine at the first window, so many times."""

    losses: int = 0

    def generate(self, prompts: Sequence[Prompt], **options: Any) -> list[Answer]:
        if self.losses and prompts[0].messages[1].text.startswith("Update what"):
            self.losses -= 1
            raise EngineLost("the engine went away")
        return super().generate(prompts, **options)


def test_an_engine_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    engine = Flaky(answer=answer, score=score, losses=2)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        assert Recommender(deployment).recommend("mia", k=1).items


def test_an_engine_that_stays_away_is_a_clear_failure_and_keeps_what_was_done(
    tmp_path: Path,
) -> None:
    engine = Flaky(answer=answer, score=score, losses=3)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        with pytest.raises(EngineLost, match="went away"):
            Recommender(deployment).recommend("mia", k=1)
        looks = asked(engine, "What does the picture show?")
        assert Recommender(deployment).recommend("mia", k=1).items
        assert asked(engine, "What does the picture show?") == looks


def test_nonsense_becomes_the_counted_plain_form_after_one_repair(tmp_path: Path) -> None:
    def nonsense(prompt: Prompt) -> str:
        if prompt.messages[1].text.startswith("Describe the stable taste"):
            return "I would rather not say"
        return answer(prompt)

    engine = ScriptedEngine(answer=nonsense, score=score)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        result = Recommender(deployment).recommend("mia", k=1)
    assert result.fallbacks == 1
    assert result.profile.statements
    assert asked(engine, "Describe the stable taste") == 2


def test_every_run_leaves_a_trace_with_its_nodes_and_calls(deployment: Deployment) -> None:
    result = Recommender(deployment).recommend("mia", k=1)
    with TraceStore.open(deployment.home.traces_file, create=False) as traces:
        spans = traces.spans(result.trace_id)
    names = [span.name for span in spans]
    assert [name for name in names if name in {node.__name__ for node in NODES}] == list(
        result.path
    )
    assert "score_labels" in names


def test_the_drawn_graph_has_every_node_and_no_edge_that_is_not_declared() -> None:
    drawn = build_graph().compile().get_graph()
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert edges == {
        ("__start__", "load_user"),
        ("load_user", "fuse_items"),
        ("load_user", "retrieve_candidates"),
        ("fuse_items", "summarize_preferences"),
        ("summarize_preferences", "summarize_preferences"),
        ("summarize_preferences", "profile_user"),
        ("profile_user", "retrieve_candidates"),
        ("retrieve_candidates", "score_targets"),
        ("score_targets", "explain"),
        ("explain", "__end__"),
    }
