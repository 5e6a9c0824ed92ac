"""Lists that a turn or a tool call made: replayed and forked like those that were asked for."""

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mllm_srec.agent.conversation.conversation import Conversations
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.diff import diff, diff_view
from mllm_srec.agent.inspection.neutral import neutral_section
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.inspection.replay import fork, replay
from mllm_srec.agent.inspection.sections import shown
from mllm_srec.agent.inspection.summary import asked
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.terminal.graph_picture import NODES
from mllm_srec.agent.toolbox import Toolbox
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore
from tests.agent.conversation.talk import engine
from tests.agent.shop import deploy


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deploy(tmp_path_factory.mktemp("lists") / "home", engine()) as opened:
        fuse_missing(opened)
        yield opened


@pytest.fixture(scope="module")
def store(deployment: Deployment) -> Iterator[TraceStore]:
    with TraceStore.open(deployment.home.traces_file) as opened:
        yield opened


def turn(deployment: Deployment, store: TraceStore, user: str, *texts: str) -> list[Span]:
    """The spans of the last turn of a conversation."""
    with Conversations(Recommender(deployment)) as talks, talks.begin(user) as chat:
        *_, last = [chat.say(text) for text in texts]
    return store.spans(last.trace_id)


def call(deployment: Deployment, store: TraceStore, tool: str, **arguments: object) -> list[Span]:
    """The spans of a tool call."""
    tools = Toolbox(Recommender(deployment), "ben", origin="a test").functions()
    [named] = [each for each in tools if each.__name__ == tool]
    asyncio.run(named(**arguments))
    return store.spans(store.recent(1)[0].trace_id)


def test_the_list_of_a_turn_is_replayed_and_forked_with_what_it_was_asked_for(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = turn(deployment, store, "mia", "less rubber", "something green under 30")
    assert replay(deployment, spans).changes == ()
    [row] = [row for row in neutral_section(deployment, spans).rows if row[1] == "i7"]
    assert row[3] == "-2.200"
    new = fork(deployment, spans, "score_targets", edits={"k": 1})
    forked = load_trace(store, new)
    assert forked.run.parent == f"{spans[0].trace_id} score_targets"
    assert forked.run.input["conditions"] == "green, up to 30"
    assert [each["values"] for each in forked.run.input["wishes"]] == [["rubber"]]
    assert forked.run.output == {"items": ["i7"]}
    changed = diff(load_trace(store, spans[0].trace_id), forked).changes
    assert {each.path.partition(".")[0] for each in changed} == {"explain"}
    assert store.spans(spans[0].trace_id) == spans


def test_the_list_of_a_turn_shows_what_it_was_asked_for_and_gave(
    deployment: Deployment, store: TraceStore
) -> None:
    [first, _] = turn(deployment, store, "mia", "less rubber", "something green under 30")[:2]
    trace = load_trace(store, first.trace_id)
    [retrieval] = shown(trace, step="retrieve_candidates")["nodes"]
    note = retrieval["sections"][0]["note"]
    assert "asked for green, up to 30; filter: having green, max_price 30.0" in note
    given = trace.run.output["items"]
    [head] = [line for line in screen(trace).splitlines() if line.startswith("list")]
    assert given[0] == "i7"
    assert head.split() == ["list", *given, *given]


def screen(trace: TraceRecord) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(diff_view(diff(trace, trace)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("user", ["mia", "nobody"])
def test_what_is_known_of_a_user_takes_no_list_and_is_made_again(
    deployment: Deployment, store: TraceStore, user: str
) -> None:
    spans = turn(deployment, store, user, "who am i to you")
    made = {node.name for node in load_trace(store, spans[0].trace_id).nodes} & set(NODES)
    assert made == ({"load_user"} if user == "nobody" else set(NODES[:4]))
    assert replay(deployment, spans).changes == ()
    forked = load_trace(store, fork(deployment, spans, "load_user", edits={}))
    assert {node.name for node in forked.nodes} == made
    assert asked(forked.run) == "0 items, ends before retrieve_candidates"


def test_what_a_tool_knows_of_a_user_is_replayed(deployment: Deployment, store: TraceStore) -> None:
    spans = call(deployment, store, "user_profile")
    assert not {span.name for span in spans} & set(NODES[4:])
    assert replay(deployment, spans).changes == ()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("recommend", {"k": 2, "without": ["steel"]}),
        ("explain_item", {"item_id": "i6", "beside": ["i8"]}),
    ],
)
def test_the_list_of_a_tool_call_is_replayed(
    deployment: Deployment, store: TraceStore, tool: str, arguments: dict[str, object]
) -> None:
    spans = call(deployment, store, tool, **arguments)
    found = replay(deployment, spans)
    assert found.changes == ()
    assert found.before.path == found.after.path


def test_a_changed_answer_of_a_turn_is_named(deployment: Deployment, store: TraceStore) -> None:
    name = "llm.output_messages.0.message.content"
    changed = [
        replace(span, attributes={**span.attributes, name: '{"loves":["wood"]}'})
        if '"loves"' in str(span.attributes.get(name))
        else span
        for span in turn(deployment, store, "mia", "what should I get")
    ]
    assert replay(deployment, changed).changes[0].path.startswith("profile_user.")


def test_a_run_without_a_list_says_so(deployment: Deployment, store: TraceStore) -> None:
    with pytest.raises(TraceError, match="no step 'explain': it has understand, act, answer"):
        fork(deployment, turn(deployment, store, "ada", "help"), "explain", edits={})
    with pytest.raises(TraceError, match="a run of 'tool user_history' in which no list"):
        fork(deployment, call(deployment, store, "user_history"), "explain", edits={})


def test_a_turn_of_an_older_version_says_what_to_do(
    deployment: Deployment, store: TraceStore
) -> None:
    spans = [replace(each, events=()) for each in turn(deployment, store, "ada", "others")]
    with pytest.raises(TraceError, match="Ask once more"):
        replay(deployment, spans)


def test_a_list_whose_request_was_left_out_is_refused(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", engine()) as made:
        fuse_missing(made)
        with TraceStore.open(made.home.traces_file) as store:
            write_settings(store, TraceSettings(redact=frozenset({"text"})))
    path = tmp_path / "home" / "traces" / "traces.sqlite"
    with deploy(tmp_path / "home", engine()) as private, TraceStore.open(path) as store:
        spans = call(private, store, "recommend", k=1)
        assert "mia" not in str(spans)
        with pytest.raises(TraceError, match="left out"):
            replay(private, spans)
