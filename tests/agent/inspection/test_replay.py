"""Whole runs on a small shop: recorded, shown, compared, replayed, forked."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from mllm_srec.agent.ask import AGAIN, REFUSED
from mllm_srec.agent.conversation.conversation import Conversations
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
from mllm_srec.agent.state import Settings, State
from mllm_srec.agent.toolbox import Toolbox
from mllm_srec.agent.tracing.attributes import PROVENANCE, REDACTED
from mllm_srec.llm.engine import LabelScores, Prompt
from mllm_srec.llm.pictures import PictureBudget, save_budget
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from mllm_srec.store.trace_retention import scrub
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.ranking import Calibration, CombineWeights
from tests.agent.conversation.talk import engine as talker
from tests.agent.shop import MODEL, answer, deploy, scripted


@pytest.fixture
def store(deployment: Deployment) -> Iterator[TraceStore]:
    path = deployment.home.traces_file
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
    [window] = second[0]["rows"]  # type: ignore[index]
    assert window["window"].startswith("2: ")
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
        path = deployment.home.traces_file
        with TraceStore.open(path) as store:
            trace = load_trace(store, recommend(deployment))
    [profile] = [each for each in trace.nodes if each.name == "profile_user"]
    refused, repair = profile.calls
    assert f"{REFUSED}{refused.problem}{AGAIN}" == repair.messages[-1].text
    assert "no complete JSON object" in str(refused.problem)
    assert (repair.repairs, repair.problem) == (True, None)
    assert "refused: " in screen(trace_tree(trace))
    assert "repaired" in screen(trace_tree(trace))


def test_a_fusion_names_its_item_and_leaves_refused_answers_out(tmp_path: Path) -> None:
    def clumsy(prompt: Prompt) -> str:
        said = answer(replace(prompt, messages=prompt.messages[:2]))
        first = len(prompt.messages) == 2 and "Title: Fine kite" in prompt.messages[1].text
        return said.replace('"cotton"', '"silk"') if first else said

    with deploy(tmp_path / "home", ScriptedEngine(answer=clumsy, score=scripted().score)) as made:
        fuse_missing(made)
        with TraceStore.open(made.home.traces_file) as store:
            trace = load_trace(store, store.recent(1)[0].trace_id)
    assert trace.run.name == "ingest"
    [table] = [
        section
        for each in shown(trace)["nodes"]
        for section in each["sections"]
        if section["title"] == "Fusion"
    ]
    rows = {row["item"]: row for row in table["rows"]}
    assert len(rows) == len(table["rows"]) == 8
    assert rows["Fine kite"] == {
        "item": "Fine kite",
        "what": "kite",
        "from the picture": "colour red",
        "from the text": "material cotton",
        "conflicts": "none",
    }


def test_a_plain_form_shows_why_the_repair_was_refused_too(tmp_path: Path) -> None:
    def stubborn(prompt: Prompt) -> str:
        if prompt.messages[1].text.startswith("Describe"):
            return f"Red, as I said {len(prompt.messages)} messages ago."
        return answer(replace(prompt, messages=prompt.messages[:2]))

    engine = ScriptedEngine(answer=stubborn, score=scripted().score)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        path = deployment.home.traces_file
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


def shifted(trace: TraceRecord, name: str, by: float, floor: float) -> TraceRecord:
    """The trace as an engine with some noise would have left it, under weights of its own."""

    def moved(output: object) -> object:
        if not isinstance(output, dict) or not output.get("candidates"):
            return output
        entries = [
            {**entry, name: entry[name] + by * (-1) ** index}
            for index, entry in enumerate(output["candidates"])
        ]
        return {**output, "candidates": sorted(entries, key=lambda entry: -entry["score"])}

    nodes = tuple(
        replace(each, output=moved(each.output)) if each.name == "score_targets" else each
        for each in trace.nodes
    )
    weights = CombineWeights(model=2.0, calibration=Calibration(a=3.0)).model_dump()
    made_with = {**trace.run.provenance, "srec.settings": {"weights": weights}}
    run = replace(trace.run, noise_floor=floor, provenance=made_with)
    return replace(trace, nodes=nodes, run=run)


@pytest.mark.parametrize(("name", "scale"), [("logit", 1.0), ("score", 6.0), ("probability", 0.75)])
def test_numbers_within_their_part_of_the_noise_floor_are_equal(
    deployment: Deployment, store: TraceStore, name: str, scale: float
) -> None:
    trace = load_trace(store, recommend(deployment))
    assert diff(trace, shifted(trace, name, 0.9 * scale * 0.01, floor=0.01)).same
    assert not diff(trace, shifted(trace, name, 1.1 * scale * 0.01, floor=0.01)).same
    assert not diff(trace, shifted(trace, name, 0.9 * scale * 0.01, floor=0.01), exact=True).same


def test_rounding_is_no_difference_where_the_engine_has_no_noise(
    deployment: Deployment, store: TraceStore
) -> None:
    trace = load_trace(store, recommend(deployment))
    assert diff(trace, shifted(trace, "logit", 6e-8, floor=0.0)).same
    assert not diff(trace, shifted(trace, "logit", 6e-8, floor=0.0), exact=True).same
    assert not diff(trace, shifted(trace, "logit", 1e-5, floor=0.0)).same


def test_the_list_and_what_a_number_became_are_read_at_once(
    deployment: Deployment, store: TraceStore
) -> None:
    trace = load_trace(store, recommend(deployment))
    shown = screen(diff_view(diff(trace, shifted(trace, "logit", 0.5, floor=0.0))))
    assert re.search(r"(?m)^list +i\d i\d.* i\d i\d", shown)
    assert re.search(r"(?m)^code +\S+\+[0-9a-f]{8} +\S+\+[0-9a-f]{8}", shown)
    assert re.search(r"(?m)^score_targets\.output\.candidates\[i\d\]\.logit  \S+ → \S+$", shown)


def test_what_rests_on_no_margin_has_no_noise(deployment: Deployment, store: TraceStore) -> None:
    trace = load_trace(store, recommend(deployment))
    found = diff(trace, shifted(trace, "retrieval_score", 1e-9, floor=0.01))
    assert {each.path for each in found.changes} == {
        f"score_targets.output.candidates[{item_id}].retrieval_score" for item_id in ("i7", "i8")
    }


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


def test_wishes_and_filters_are_replayed_and_forked(
    deployment: Deployment, store: TraceStore
) -> None:
    srec = Recommender(deployment)
    srec.feedback("ada", "never", "green")
    srec.feedback("ada", "more", "wood")
    only = ("i1", "i4", "i5", "i6", "i7")
    asked = Request.of(
        "ada", candidates=only, conditions=ItemFilter(without=("steel",)), exclude=("i1",)
    )
    [_] = srec.recommend_many([asked], k=2)
    spans = store.spans(store.recent(1)[0].trace_id)
    trace = load_trace(store, spans[0].trace_id)
    assert trace.run.input["filter"] == {"without": ["steel", "green"], "exclude": ["i1"]}
    assert trace.run.output == {"items": ["i5", "i6"]}
    assert replay(deployment, spans).changes == ()
    for step in ("retrieve_candidates", "score_targets"):
        forked = load_trace(store, fork(deployment, spans, step, edits={}))
        assert diff(trace, forked).changes == ()
        assert replay(deployment, store.spans(forked.run.trace_id)).changes == ()
    note = next(
        each["note"]
        for each in node(trace, "retrieve_candidates")["sections"]  # type: ignore[attr-defined]
    )
    assert "asked for without steel" in note
    assert "filter: without steel + green, exclude i1; only i1 + i4 + i5 + i6 + i7" in note


def test_a_given_history_is_replayed(deployment: Deployment, store: TraceStore) -> None:
    srec = Recommender(deployment)
    for history in (["i1", "i3"], []):
        spans = store.spans(srec.recommend("mia", k=1, history=history).trace_id)
        assert len(load_trace(store, spans[0].trace_id).run.input["given_history"]) == len(history)
        assert replay(deployment, spans).changes == ()


def test_a_replay_of_a_fork_begins_at_its_step_with_its_edits(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(recommend(deployment))
    edit = [("Answer Yes or No.", "Say Yes or No.")]
    for step, edits, replacements in (
        ("summarize_preferences:2", {}, []),
        ("score_targets", {"k": 1}, edit),
    ):
        new = fork(deployment, spans, step, edits=edits, replacements=replacements)
        found = replay(deployment, store.spans(new))
        assert found.changes == ()
        assert found.after.parent == f"{spans[0].trace_id} {step}"
        assert found.after.path == found.before.path


def test_a_replay_has_the_picture_budget_of_the_run(
    deployment: Deployment, store: TraceStore, tmp_path: Path
) -> None:
    spans = store.spans(recommend(deployment))
    other = tmp_path / "model"
    other.mkdir()
    (other / "config.json").write_text("{}")
    save_budget(other, PictureBudget(side=64))
    with Deployment(
        Home.open(deployment.home.path), engine=ScriptedEngine(), model=other
    ) as another:
        assert replay(another, spans).changes == ()


def settings_of(trace: TraceRecord) -> dict[str, object]:
    return dict(trace.run.provenance["srec.settings"])


def test_runs_of_every_kind_say_what_they_were_made_with(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", talker()) as deployment:
        fuse_missing(deployment)
        srec = Recommender(deployment)
        parent = srec.recommend("mia", k=1).trace_id
        srec.put_items(list(deployment.home.catalogue.items(["i1"]).values()))
        tools = {each.__name__: each for each in Toolbox(srec, "ben", origin="a test").functions()}
        asyncio.run(tools["search_text"](words="blue train"))
        with Conversations(srec) as talks, talks.begin("ada") as chat:
            chat.say("help")
    path = deployment.home.traces_file
    # As `srec trace fork` does it: with a deployment on which nothing else has run.
    with TraceStore.open(path) as store, deploy(tmp_path / "home", talker()) as fresh:
        fork(fresh, store.spans(parent), "explain", edits={})
        runs = [load_trace(store, root.trace_id).run for root in find(store, TraceFilter())]
    kinds = {(run.name, run.parent is not None) for run in runs}
    assert kinds == {
        ("ingest", False),
        ("recommend", False),
        ("recommend", True),
        ("put_items", False),
        ("tool search_text", False),
        ("turn", False),
    }
    made = [(dict(run.provenance), run.noise_floor) for run in runs]
    assert set(made[0][0]) == set(PROVENANCE)
    assert [each for each in made if each != made[0]] == []


def test_an_index_is_told_as_it_was_made_whatever_its_model_is_called_now(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", talker()) as deployment:
        fuse_missing(deployment)
        parent = Recommender(deployment).recommend("mia", k=1).trace_id
    moved = talker()
    moved.info = replace(moved.info, model="moved")
    with (
        deploy(tmp_path / "home", moved) as deployment,
        TraceStore.open(deployment.home.traces_file) as store,
    ):
        again = Recommender(deployment).recommend("mia", k=1).trace_id
        fork(deployment, store.spans(parent), "explain", edits={})
        runs = [load_trace(store, root.trace_id).run for root in store.recent(3)]
    assert {run.model for run in runs} == {"scripted", "moved"}
    assert again in {run.trace_id for run in runs}
    assert len({run.provenance["srec.index.hash"] for run in runs}) == 1


def test_an_ablation_says_what_was_left_out(deployment: Deployment, store: TraceStore) -> None:
    srec = Recommender(deployment)
    parts = []
    for each in (srec.without("profile"), srec):
        trace = load_trace(store, each.recommend("mia", k=1).trace_id)
        assert replay(deployment, store.spans(trace.run.trace_id)).changes == ()
        parts.append(settings_of(trace)["chain"]["without"])  # type: ignore[index]
    assert parts == ["profile", None]


def test_a_replay_of_a_changed_home_names_the_first_difference(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(recommend(deployment))
    deployment.home.delete_item("i8")
    found = replay(deployment, spans)
    assert "retrieve_candidates.output.candidates[i8]" in [each.path for each in found.changes]
    assert found.changes[0].path.startswith("retrieve_candidates.output.candidates[")


def test_an_item_that_was_deleted_since_is_named(deployment: Deployment, store: TraceStore) -> None:
    spans = store.spans(recommend(deployment))
    forked = store.spans(fork(deployment, spans, "score_targets", edits={}))
    deployment.home.delete_item("i8")
    with pytest.raises(TraceError, match="'i8', which is not in the catalogue"):
        fork(deployment, spans, "explain", edits={})
    with pytest.raises(TraceError, match="'i8', which is not in the catalogue"):
        replay(deployment, forked)
    deployment.home.delete_item("i1")
    with pytest.raises(TraceError, match="'i1', which is not in the catalogue"):
        replay(deployment, spans)


def test_a_difference_at_the_end_of_a_long_line_is_seen(
    deployment: Deployment, store: TraceStore
) -> None:
    trace = load_trace(store, recommend(deployment))
    one, other = (
        replace(trace, run=replace(trace.run, error=f"{'long ' * 100}{end}"))
        for end in ("red kite", "blue kite")
    )
    text = screen(diff_view(diff(one, other)))
    assert "- …" in text
    assert "long red kite" in text
    assert "long blue kite" in text


def test_what_was_left_out_cannot_be_replayed(deployment: Deployment, store: TraceStore) -> None:
    write_settings(store, TraceSettings(redact=frozenset({"text"})))
    with deploy(deployment.home.path, scripted()) as private:
        spans = store.spans(recommend(private))
        with pytest.raises(TraceError, match="left out"):
            replay(private, spans)
        ingested = store.spans(find(store, TraceFilter())[-1].trace_id)
        with pytest.raises(TraceError, match="a run of 'ingest'"):
            replay(private, ingested)


def test_a_fork_for_a_user_whose_id_was_left_out_goes_with_their_traces(
    deployment: Deployment, store: TraceStore
) -> None:
    write_settings(store, TraceSettings(redact=frozenset({"users"})))
    with deploy(deployment.home.path, scripted()) as private:
        spans = store.spans(recommend(private))
        forked = store.spans(fork(private, spans, "explain", edits={}))
        assert replay(private, forked).changes == ()
    names = {each[0].attributes["user.id"] for each in (spans, forked)}
    assert len(names) == 1
    assert "mia" not in names
    assert scrub(store, "mia") == 2


def test_what_is_lost_cannot_be_replayed(deployment: Deployment, store: TraceStore) -> None:
    trace_id = recommend(deployment)
    with store.writing() as connection:
        connection.execute("DELETE FROM blobs")
    with pytest.raises(TraceError, match="lost"):
        replay(deployment, store.spans(trace_id))


def test_a_run_without_its_pictures_is_replayed(tmp_path: Path) -> None:
    seeing = Settings(scoring_picture=True)
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
        path = deployment.home.traces_file
    with TraceStore.open(path) as store:
        write_settings(store, TraceSettings(redact=frozenset({"pictures"})))
        with Deployment(
            Home.open(tmp_path / "home"), engine=scripted(), model=MODEL, settings=seeing
        ) as private:
            spans = store.spans(recommend(private))
            images = [
                call.images
                for node in load_trace(store, spans[0].trace_id).nodes
                for call in node.calls
                if call.images
            ]
            assert images == [(REDACTED,)] * 2
            assert replay(private, spans).changes == ()


def test_an_answer_to_other_settings_is_told_apart(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(recommend(deployment))
    name = "llm.invocation_parameters"
    other = [
        replace(each, attributes={**each.attributes, name: '{"max_tokens": 7}'})
        if each.name == "generate"
        else each
        for each in spans
    ]
    text = str(replay(deployment, other).changes[-1].after)
    assert 'with these settings, {"max_tokens": 260' in text
    assert 'it has one with {"max_tokens": 7}' in text


def test_a_prompt_in_which_a_secret_was_masked_is_found_again(
    deployment: Deployment, store: TraceStore
) -> None:
    [item] = deployment.home.catalogue.items(["i7"]).values()
    deployment.home.catalogue.put_items([item.model_copy(update={"title": "Fine password"})])
    fuse_missing(deployment)
    spans = store.spans(recommend(deployment))
    assert "Item: password: [secret]; wood" in str(spans)
    assert replay(deployment, spans).changes == ()


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


def other_model(home: Path, engine: ScriptedEngine | None = None) -> Deployment:
    """The shop with another model on top, in vectors of another length."""
    info = replace(ScriptedEngine().info, model="other", model_hash="0" * 64)
    other = replace(engine or scripted(), info=info, dimension=8)
    return Deployment(Home.open(home), engine=other, model=MODEL)


@pytest.mark.parametrize("step", ["summarize_preferences", "profile_user"])
def test_another_model_goes_on_with_the_candidates_that_were_found(
    deployment: Deployment, store: TraceStore, step: str
) -> None:
    spans = store.spans(recommend(deployment))
    before = deployment.home.catalogue.representations(["i1"])
    said: list[str] = []
    with other_model(deployment.home.path) as other:
        new = fork(other, spans, step, edits={}, say=said.append)
        forked = store.spans(new)
        again = fork(other, forked, "profile_user", edits={"k": 1})
        assert replay(other, forked).changes == ()
    [line] = said
    assert "'other' goes on with the descriptions that 'scripted' made" in line
    assert "the candidates that were found" in line
    trace = load_trace(store, new)
    assert (trace.run.model, trace.run.edits["kept"]) == ("other", ["retrieve_candidates"])
    assert trace.run.path[-3:] == ("profile_user", "score_targets", "explain")
    assert diff(load_trace(store, spans[0].trace_id), trace).same
    assert "not taken: retrieve_candidates" in screen(trace_tree(trace))
    assert "retrieve_candidates" in html_page(trace, store.blob)
    assert load_trace(store, again).run.output == {"items": trace.run.output["items"][:1]}
    assert deployment.home.catalogue.representations(["i1"]) == before


def test_another_model_scores_what_the_first_described(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(recommend(deployment))
    said: list[str] = []
    with other_model(deployment.home.path) as other:
        new = fork(other, spans, "score_targets", edits={}, say=said.append)
        assert replay(other, store.spans(new)).changes == ()
    assert said == ["'other' goes on with the descriptions that 'scripted' made"]


def test_another_model_goes_on_with_a_run_that_ended_at_the_profile(
    deployment: Deployment, store: TraceStore
) -> None:
    srec = Recommender(deployment)
    deployment.run(srec.chain.profile("mia"))
    spans = store.spans(store.recent(1)[0].trace_id)
    said: list[str] = []
    with other_model(deployment.home.path) as other:
        for step in ("summarize_preferences", "profile_user"):
            new = fork(other, spans, step, edits={}, say=said.append)
            trace = load_trace(store, new)
            assert (trace.run.model, trace.run.path[-1]) == ("other", "profile_user")
            assert replay(other, store.spans(new)).changes == ()
        with pytest.raises(TraceError, match="this home are by 'scripted'"):
            fork(other, spans, "fuse_items", edits={})
    assert said == ["'other' goes on with the descriptions that 'scripted' made"] * 2


@pytest.mark.parametrize("step", ["load_user", "fuse_items", "retrieve_candidates"])
def test_another_model_neither_describes_nor_searches_for_a_fork(
    deployment: Deployment, store: TraceStore, step: str
) -> None:
    spans = store.spans(recommend(deployment))
    with (
        other_model(deployment.home.path) as other,
        pytest.raises(TraceError, match="this home are by 'scripted': name that with --model"),
    ):
        fork(other, spans, step, edits={})


def test_a_run_that_described_an_item_on_the_way_is_replayed(
    deployment: Deployment, store: TraceStore
) -> None:
    [item] = deployment.home.catalogue.items(["i1"]).values()
    deployment.home.catalogue.put_items([item.model_copy(update={"title": "Fine horse"})])
    spans = store.spans(recommend(deployment))
    assert any("Title: Fine horse" in str(span.attributes) for span in spans)
    assert replay(deployment, spans).changes == ()


@dataclass
class Tokens(ScriptedEngine):
    """Says which tokens stand for the labels."""

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        ids = {label: 400 + len(label) for label in labels}
        return [replace(each, token_ids=ids) for each in super().score_labels(prompts, labels)]


def test_scores_show_the_tokens_of_the_labels_also_of_stored_answers(tmp_path: Path) -> None:
    engine = Tokens(answer=answer, score=scripted().score)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        with TraceStore.open(deployment.home.traces_file) as store:
            traces = [load_trace(store, recommend(deployment)) for _ in range(2)]
            page = html_page(traces[0], store.blob)
    for trace in traces:
        found = node(trace, "score_targets")
        assert found["calls"][0]["token_ids"] == {"Yes": 403, "No": 402}  # type: ignore[index]
        text = screen(trace_tree(trace))
        assert "Yes (403) -2.300, No (402) -0.100" in text
        assert "in brackets the tokens of the labels; noise floor" in text
        assert "Yes (403) -2.3000, No (402) -0.1000; margin -2.2000" in text
    assert traces[1].nodes[-2].calls[0].stored
    assert "Yes (403) -2.300" in page


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
        with TraceStore.open(deployment.home.traces_file) as store:
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
        ("explain", {"k": "3"}, [], "the field 'k': it should be a whole number"),
        ("explain", {"k": True}, [], "the field 'k': it should be a whole number"),
        ("explain", {"as_of": []}, [], "the field 'as_of': it should be a whole number"),
        ("explain", {"path": "hot"}, [], "the field 'path': it should be 'warm', 'cold'"),
        ("explain", {"history": [1]}, [], "the field 'history.0': it should be an object"),
        ("explain", {"profile": [{}]}, [], "the field 'profile.0.value': missing, give it"),
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
