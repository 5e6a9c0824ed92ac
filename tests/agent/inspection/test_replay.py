"""Whole runs on a small shop: recorded, shown, compared, replayed, forked."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mllm_srec.agent.ask import _repair
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.diff import diff, diff_view
from mllm_srec.agent.inspection.html import html_page
from mllm_srec.agent.inspection.neutral import neutral_section
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.inspection.replay import fork, replay
from mllm_srec.agent.inspection.sections import shown
from mllm_srec.agent.inspection.state import EXTENDED, states
from mllm_srec.agent.inspection.view import trace_tree
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.state import State
from mllm_srec.agent.tracing.attributes import PROVENANCE, REFUSED
from mllm_srec.llm.engine import Message, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.filters import ItemFilter
from tests.agent.shop import answer, deploy, scripted


@pytest.fixture
def store(deployment: Deployment) -> Iterator[TraceStore]:
    path = deployment.home.traces_path / "traces.sqlite"
    with TraceStore.open(path, create=False) as opened:
        yield opened


def recommend(deployment: Deployment, user: str = "mia", k: int = 2) -> str:
    return Recommender(deployment).recommend(user, k=k).trace_id


def screen(view: object) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def node(trace: TraceRecord, step: str) -> dict[str, object]:
    [found] = [each for each in shown(trace)["nodes"] if each["step"] == step]
    return dict(found)


def test_the_fields_that_grow_are_those_with_a_reducer() -> None:
    hints = State.__annotations__
    assert {name for name in hints if "Annotated" in str(hints[name])} == EXTENDED


def test_the_repair_speaks_as_the_trace_reads_it() -> None:
    prompt = Prompt((Message("user", "What is it?"),))
    assert _repair(prompt, "{", "no JSON").messages[-1].text.startswith(REFUSED)


def test_a_trace_shows_on_what_grounds_each_node_decided(
    deployment: Deployment, store: TraceStore
) -> None:
    trace = load_trace(store, recommend(deployment))
    assert trace.run.noise_floor == 0.0
    assert trace.run.score == pytest.approx(-2.2)
    assert set(trace.run.provenance) == set(PROVENANCE)
    titles = {
        step: [section["title"] for section in node(trace, step)["sections"]]  # type: ignore[attr-defined]
        for step in ("retrieve_candidates", "score_targets", "profile_user", "explain")
    }
    assert titles == {
        "retrieve_candidates": ["Candidates", "Sources", "Dropped"],
        "score_targets": ["Scores"],
        "profile_user": ["Profile"],
        "explain": ["Reasons"],
    }
    second = node(trace, "summarize_preferences:2")["sections"]
    assert len(second[0]["rows"]) == 2  # type: ignore[index]
    text = screen(trace_tree(trace, full=True))
    for wanted in (
        "noise floor ±0 nats; rank: retrieval → final",
        "Yes -2.300, No -0.100",
        "-2.200",
        "6 seen items left out",
        "distance",
        "path load_user → fuse_items",
    ):
        assert wanted in text


def test_a_retrieval_shows_its_sources_and_what_it_dropped(
    deployment: Deployment, store: TraceStore
) -> None:
    srec = Recommender(deployment)
    srec.feedback("mia", "never", "green")
    srec.feedback("ben", "never", "green")
    srec.recommend_many([Request.of("ada", conditions=ItemFilter(without=("steel",)))], k=1)
    trace = load_trace(store, store.recent(1)[0].trace_id)
    [plain] = [each for each in trace.nodes if each.name == "retrieve_candidates"]
    assert plain.dropped["counts"] == {"seen before": 2, "not allowed": 1}
    [steel] = [each for each in plain.dropped["named"] if each["reason"] == "not allowed"]
    assert (steel["item_id"], "wish" in steel) == ("i4", False)
    assert [each.source for each in plain.searches] == [
        "followed", "facets", "taste", "recent", "popular"
    ]  # fmt: skip
    assert plain.stores["Chroma"][0] > 0
    assert plain.stores["Catalogue"][1] <= plain.store_seconds  # type: ignore[operator]

    trace = load_trace(store, srec.recommend("ben", k=1).trace_id)
    dropped = node(trace, "retrieve_candidates")["dropped"]
    wishes = {each["item_id"]: each.get("wish") for each in dropped["named"]}  # type: ignore[index]
    assert wishes == {"i1": None, "i3": None, "i5": None, "i7": None, "i8": "never green"}
    text = screen(trace_tree(trace, step="retrieve_candidates"))
    page = html_page(trace, store.blob)
    for wanted in (
        "Dropped",
        "not allowed, never green",
        "4 seen before; 1 not allowed",
        "Sources",
    ):
        assert wanted in text
        assert wanted in page
    for wanted in ("└ taste", "stores: Chroma"):
        assert wanted in text


def test_the_states_follow_from_what_the_nodes_returned(
    deployment: Deployment, store: TraceStore
) -> None:
    trace = load_trace(store, recommend(deployment))
    windows = [len(after.get("windows", [])) for _, _, after in states(trace)]
    assert windows == [0, 0, 1, 2, 2, 2, 2, 2]
    *_, (_, before, after) = states(trace)
    assert "reasons" not in before
    assert [reason["item_id"] for reason in after["reasons"]] == trace.run.output["items"]


def test_an_answer_that_was_repaired_shows_why(tmp_path: Path) -> None:
    def clumsy(prompt: Prompt) -> str:
        first = len(prompt.messages) == 2 and prompt.messages[1].text.startswith("Describe")
        return (
            "I would say red." if first else answer(replace(prompt, messages=prompt.messages[:2]))
        )

    engine = ScriptedEngine(answer=clumsy, score=scripted().score)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        path = deployment.home.traces_path / "traces.sqlite"
        with TraceStore.open(path) as store:
            trace = load_trace(store, recommend(deployment))
    [profile] = [each for each in trace.nodes if each.name == "profile_user"]
    refused, repair = profile.calls
    assert "no complete JSON object" in str(refused.problem)
    assert (repair.repairs, repair.problem) == (True, None)
    assert "refused: " in screen(trace_tree(trace))
    assert "repaired" in screen(trace_tree(trace))


def test_a_plain_form_shows_why_the_repair_was_refused_too(tmp_path: Path) -> None:
    def stubborn(prompt: Prompt) -> str:
        if prompt.messages[1].text.startswith("Describe"):
            return f"Red, as I said {len(prompt.messages)} messages ago."
        return answer(replace(prompt, messages=prompt.messages[:2]))

    engine = ScriptedEngine(answer=stubborn, score=scripted().score)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        path = deployment.home.traces_path / "traces.sqlite"
        with TraceStore.open(path) as store:
            trace = load_trace(store, recommend(deployment))
    [profile] = [each for each in trace.nodes if each.name == "profile_user"]
    [event] = profile.events
    assert (event.name, profile.fallbacks) == ("plain form", 1)
    assert event.attributes["refused"] == "Red, as I said 4 messages ago."
    assert "no complete JSON object" in str(event.attributes["problem"])


def test_the_same_request_twice_is_the_same(deployment: Deployment, store: TraceStore) -> None:
    first, second = (load_trace(store, recommend(deployment)) for _ in range(2))
    found = diff(first, second)
    assert found.changes == ()
    assert "the same" in screen(diff_view(found))


def test_two_users_differ_in_request_prompts_and_values(
    deployment: Deployment, store: TraceStore
) -> None:
    mia, ben = (load_trace(store, recommend(deployment, user)) for user in ("mia", "ben"))
    found = diff(mia, ben)
    places = [change.path for change in found.changes]
    assert places[0] == "request.user"
    assert any(place.startswith("score_targets.calls") for place in places)
    assert "path" in places
    assert "- mia" in screen(diff_view(found))


def shifted(trace: TraceRecord, by: float, floor: float) -> TraceRecord:
    """The trace as an engine with some noise would have left it."""

    def moved(output: object) -> object:
        if not isinstance(output, dict) or not output.get("candidates"):
            return output
        entries = [
            {**entry, "score": entry["score"] + by * (-1) ** index}
            for index, entry in enumerate(output["candidates"])
        ]
        return {**output, "candidates": sorted(entries, key=lambda entry: -entry["score"])}

    nodes = tuple(
        replace(each, output=moved(each.output)) if each.name == "score_targets" else each
        for each in trace.nodes
    )
    return replace(trace, nodes=nodes, run=replace(trace.run, noise_floor=floor))


def test_scores_and_ties_within_the_noise_floor_are_equal(
    deployment: Deployment, store: TraceStore
) -> None:
    trace = load_trace(store, recommend(deployment))
    assert diff(trace, shifted(trace, 0.01, floor=0.02)).same
    assert not diff(trace, shifted(trace, 0.01, floor=0.005)).same
    assert not diff(trace, shifted(trace, 0.01, floor=0.02), exact=True).same


@pytest.mark.parametrize("user", ["mia", "ada", "nobody"])
def test_a_replay_is_equal_and_asks_no_model(
    deployment: Deployment, store: TraceStore, engine: ScriptedEngine, user: str
) -> None:
    trace_id = recommend(deployment, user)
    spans, count = store.spans(trace_id), len(find(store, TraceFilter()))
    asked = len(engine.generated), len(engine.scored)
    assert replay(deployment, spans).changes == ()
    assert (len(engine.generated), len(engine.scored)) == asked
    assert store.spans(trace_id) == spans
    assert len(find(store, TraceFilter())) == count


def test_a_replay_of_a_changed_home_names_the_first_difference(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(recommend(deployment))
    deployment.home.delete_item("i8")
    found = replay(deployment, spans)
    assert "retrieve_candidates.output.candidates[i8]" in [each.path for each in found.changes]
    assert found.changes[0].path.startswith("retrieve_candidates.output.candidates[")


def test_what_was_left_out_cannot_be_replayed(deployment: Deployment, store: TraceStore) -> None:
    write_settings(store, TraceSettings(redact=frozenset({"text"})))
    with deploy(deployment.home.path, scripted()) as private:
        spans = store.spans(recommend(private))
        with pytest.raises(TraceError, match="left out"):
            replay(private, spans)
        ingested = store.spans(find(store, TraceFilter())[-1].trace_id)
        with pytest.raises(TraceError, match="a run of 'ingest'"):
            replay(private, ingested)


def test_a_fork_goes_on_with_the_edited_state_and_names_its_parent(
    deployment: Deployment, store: TraceStore
) -> None:
    parent = recommend(deployment)
    spans = store.spans(parent)
    new = fork(deployment, spans, "explain", edits={"k": 1})
    trace = load_trace(store, new)
    assert trace.run.parent == f"{parent} explain"
    assert trace.run.path == ("explain",)
    assert len(trace.run.output["items"]) == 1
    assert store.spans(parent) == spans
    assert 'explain, changed {"state": {"k": 1}, "replace": []}' in screen(trace_tree(trace))
    assert parent in html_page(trace, store.blob)


def test_a_fork_of_a_second_window_runs_the_rest(
    deployment: Deployment, store: TraceStore, engine: ScriptedEngine
) -> None:
    spans = store.spans(recommend(deployment))
    new = fork(deployment, spans, "summarize_preferences:2", edits={})
    assert load_trace(store, new).run.path == (
        "summarize_preferences",
        "profile_user",
        "retrieve_candidates",
        "score_targets",
        "explain",
    )
    assert diff(load_trace(store, spans[0].trace_id), load_trace(store, new)).same


def test_a_fork_with_another_prompt_asks_the_model_about_it(
    deployment: Deployment, store: TraceStore, engine: ScriptedEngine
) -> None:
    spans = store.spans(recommend(deployment))
    engine.scored.clear()
    edit = [("Answer Yes or No.", "Say Yes or No.")]
    new = fork(deployment, spans, "score_targets", edits={}, replacements=edit)
    assert len(engine.scored) == 2
    assert all("Say Yes or No." in prompt.messages[1].text for prompt in engine.scored)
    prompts = [call.prompt for call in load_trace(store, new).nodes[0].calls]
    assert all("Say Yes or No." in prompt for prompt in prompts)


def knows(prompt: Prompt, labels: Sequence[str]) -> dict[str, float]:
    """Say yes to what the profile is told to love, and a little to green things in any case."""
    text = prompt.messages[1].text
    item = re.search(r"^Item: (.*)$", text, re.MULTILINE)
    loves = re.search(r"^Profile of the user: loves (.*)$", text, re.MULTILINE)
    assert item
    loved = set(loves[1].split(", ")) & set(re.split("[:;] ", item[1])) if loves else set()
    return {"Yes": -1.0 + 0.5 * len(loved) + 0.25 * ("green" in item[1]), "No": -1.0}


def test_a_neutral_user_shows_what_the_taste_moved(tmp_path: Path) -> None:
    engine = ScriptedEngine(answer=answer, score=knows)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        with TraceStore.open(deployment.home.traces_path / "traces.sqlite") as store:
            spans = store.spans(recommend(deployment))
            recommend(deployment, user="nobody")
            engine.scored.clear()
            before = len(store.recent())
            section = neutral_section(deployment, spans)
            assert len(store.recent()) == before
    rows = {item: cells for _, item, *cells in section.rows}
    assert rows == {
        "i7": ["+0.750", "+0.250", "+0.500"],  # green, and of wood, which mia loves
        "i8": ["+0.250", "+0.250", "+0.000"],
    }
    # Word for word what it was asked for a user who is not in the log, so it was not asked again.
    assert engine.scored == []


def test_an_item_that_changed_since_is_not_compared(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(recommend(deployment))
    [entry] = deployment.home.catalogue.representations(["i8"]).values()
    changed = entry.fused.model_copy(update={"what": "goose"})
    deployment.home.catalogue.put_representations([entry.model_copy(update={"fused": changed})])
    rows = {item: cells for _, item, *cells in neutral_section(deployment, spans).rows}
    assert rows["i8"] == ["-2.200", "changed since", "-"]
    assert rows["i7"][1] == "-2.200"


def test_a_neutral_score_by_another_model_is_refused(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(recommend(deployment))
    root = spans[0]
    other = replace(root, attributes={**root.attributes, "srec.model.hash": "0" * 64})
    with pytest.raises(TraceError, match="give the model of the run with --model"):
        neutral_section(deployment, [other, *spans[1:]])


@pytest.mark.parametrize(
    ("step", "edits", "replacements", "complaint"),
    [
        ("rank", {}, [], "no step 'rank': it has load_user"),
        ("explain", {"colour": 1}, [], "no field 'colour'"),
        ("explain", {}, [("no such words", "x")], "'no such words' is in no prompt"),
    ],
)
def test_a_fork_that_cannot_be_meant_is_refused(
    deployment: Deployment,
    store: TraceStore,
    step: str,
    edits: dict[str, object],
    replacements: list[tuple[str, str]],
    complaint: str,
) -> None:
    spans = store.spans(recommend(deployment))
    with pytest.raises(TraceError, match=complaint):
        fork(deployment, spans, step, edits=edits, replacements=replacements)
