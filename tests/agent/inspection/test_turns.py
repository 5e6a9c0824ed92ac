"""Turns of a conversation: replayed from their answers, and forked from their own steps."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Understood
from mllm_srec.agent.conversation.nodes import ACTIONS
from mllm_srec.agent.conversation.state import TurnUpdate
from mllm_srec.agent.conversation.turn import Turn
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.diff import diff
from mllm_srec.agent.inspection.reading import load_trace, read_trace
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.inspection.replay import fork, replay
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.tracing.attributes import as_json
from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore
from tests.agent.conversation.talk import engine as talker
from tests.agent.shop import MODEL, deploy


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return talker()


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, engine: ScriptedEngine
) -> Iterator[Deployment]:
    with deploy(tmp_path_factory.mktemp("turns") / "home", engine) as opened:
        fuse_missing(opened)
        yield opened


@pytest.fixture(scope="module")
def store(deployment: Deployment) -> Iterator[TraceStore]:
    with TraceStore.open(deployment.home.traces_file) as opened:
        yield opened


@pytest.fixture
def chat(deployment: Deployment) -> Iterator[Conversation]:
    with Conversations(Recommender(deployment)) as talks, talks.begin("mia") as opened:
        yield opened
    deployment.home.feedback.delete_user("mia")


def said(chat: Conversation, store: TraceStore, *texts: str) -> list[Span]:
    """The spans of the last of these turns."""
    *_, last = [chat.say(text) for text in texts]
    return store.spans(last.trace_id)


def forked(
    deployment: Deployment, store: TraceStore, spans: list[Span], step: str, **edits: object
) -> tuple[TraceRecord, list[str]]:
    """The fork of a turn, and what a person was told."""
    told: list[str] = []
    trace = load_trace(store, fork(deployment, spans, step, edits=edits, say=told.append))
    assert trace.run.parent == f"{spans[0].trace_id} {step}"
    assert store.spans(spans[0].trace_id) == spans
    return trace, told


@pytest.mark.parametrize(
    "texts",
    [
        ["something green under 30"],
        ["two things please", "why the second"],
        ["find a blue ball"],
        ["less rubber"],
        ["who am i to you"],
        ["hello there"],
        ["👍"],
    ],
)
def test_a_turn_is_replayed_with_what_it_understood_and_answered(
    chat: Conversation,
    deployment: Deployment,
    store: TraceStore,
    engine: ScriptedEngine,
    texts: list[str],
) -> None:
    spans = said(chat, store, *texts)
    wishes, asked = deployment.home.feedback.of("mia"), len(engine.generated)
    found = replay(deployment, spans)
    assert found.changes == ()
    assert len(engine.generated) == asked
    assert deployment.home.feedback.of("mia") == wishes
    assert store.recent(1)[0].trace_id == spans[0].trace_id


def test_a_command_is_replayed_and_forked_without_being_understood(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(chat.do(Understood(intent="recommend", k="2")).trace_id)
    assert replay(deployment, spans).changes == ()
    trace, _ = forked(deployment, store, spans, "understand")
    assert diff(load_trace(store, spans[0].trace_id), trace).same
    assert replay(deployment, store.spans(trace.run.trace_id)).changes == ()
    with pytest.raises(TraceError, match="the turn was a command, and is not read"):
        fork(deployment, spans, "understand", edits={"said": "find a blue ball"})
    trace, _ = forked(deployment, store, spans, "understand", said="find a blue ball", command=None)
    assert trace.run.output["intent"] == "search"


def test_a_replay_says_which_step_of_a_turn_came_out_otherwise(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "find a blue ball")
    changed = [
        replace(span, attributes={**span.attributes, "output.value": '{"answer": "another"}'})
        if span.name == "answer"
        else span
        for span in spans
    ]
    [*found] = replay(deployment, changed).changes
    assert {each.path.partition(".")[0] for each in found} == {"answer"}


def test_a_fork_understands_another_message_and_answers_it(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "two things please", "why the first")
    before = chat.turns()
    trace, told = forked(deployment, store, spans, "understand", said="why the second")
    assert not told
    assert [node.name for node in trace.nodes if node.depth == 1] == ["understand", "act", "answer"]
    [first, second] = [
        load_trace(store, each).run.output["answer"]
        for each in (spans[0].trace_id, trace.run.trace_id)
    ]
    assert first != second
    assert chat.turns() == before
    assert replay(deployment, store.spans(trace.run.trace_id)).changes == ()


def test_a_fork_makes_another_list_in_the_middle_of_a_conversation(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "two things please", "only wooden ones")
    understood = {"intent": "recommend", "k": "one"}
    trace, _ = forked(deployment, store, spans, "act", understood=understood)
    assert len(trace.run.output["items"]) == 1
    assert replay(deployment, store.spans(trace.run.trace_id)).changes == ()


def test_an_answer_is_written_again_from_other_facts(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "find a blue ball")
    outcome = {"lead": "Other words.", "items": [], "lines": []}
    trace, _ = forked(deployment, store, spans, "answer", outcome=outcome)
    assert trace.run.output == {"intent": "search", "answer": "Other words.", "items": []}


def test_a_fork_of_a_turn_changes_nothing_that_is_kept(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "find a blue ball")
    trace, told = forked(deployment, store, spans, "understand", said="never rubber")
    assert [node.name for node in trace.nodes] == ["understand"]
    assert trace.run.output == {"intent": "never", "answer": "", "items": []}
    assert told == [
        "the fork ends before 'act': 'never' may change what is kept of 'mia'; `/fork` in a chat "
        "goes on with it"
    ]
    assert deployment.home.feedback.of("mia") == []
    spans = said(chat, store, "never rubber")
    wishes = deployment.home.feedback.of("mia")
    with pytest.raises(TraceError, match="cannot begin at 'act' here: 'never' may change"):
        fork(deployment, spans, "act", edits={})
    assert deployment.home.feedback.of("mia") == wishes


def test_another_prompt_and_another_model_understand_a_turn(
    chat: Conversation, deployment: Deployment, store: TraceStore, tmp_path: Path
) -> None:
    spans = said(chat, store, "find a blue ball")
    edit = [("find a blue ball", "why")]
    new = fork(deployment, spans, "understand", edits={}, replacements=edit)
    trace = load_trace(store, new)
    assert trace.nodes[0].calls[0].prompt.count("find a blue ball") == 0
    assert replay(deployment, store.spans(new)).changes == ()
    other = talker()
    other.info = replace(other.info, model="other", model_hash="0" * 64)
    told: list[str] = []
    with Deployment.open(deployment.home.path, engine=other, model=MODEL) as opened:
        new = fork(opened, spans, "understand", edits={}, say=told.append)
    assert told == [
        "the fork ends before 'act': 'other' cannot search the vectors, which 'scripted' made"
    ]
    assert load_trace(store, new).run.model == "other"


def test_a_home_that_was_just_opened_forks_a_turn_from_its_beginning(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "find a blue ball")
    with Deployment.open(deployment.home.path, engine=talker(), model=MODEL) as opened:
        trace, told = forked(opened, store, spans, "understand")
    assert not told
    assert diff(load_trace(store, spans[0].trace_id), trace).same


def test_a_home_with_other_vectors_understands_a_turn_and_acts_not(
    chat: Conversation,
    deployment: Deployment,
    store: TraceStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = said(chat, store, "find a blue ball")
    facts = replace(deployment.index_facts(), prompt_hash="0" * 64)
    monkeypatch.setattr(deployment, "index_facts", lambda: facts)
    _, [told] = forked(deployment, store, spans, "understand")
    assert told.startswith("the fork ends before 'act': ")
    assert "rebuild" in told
    with pytest.raises(TraceError, match=r"cannot begin at 'act' here: .*rebuild"):
        fork(deployment, spans, "act", edits={})


def test_a_wrong_step_is_told_with_those_of_the_turn_and_of_its_list(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "two things please")
    with pytest.raises(TraceError, match=r"it has understand, act, load_user, .*explain, answer"):
        fork(deployment, spans, "undrstand", edits={})


def test_a_turn_that_broke_off_and_was_taken_up_again_is_replayed_and_forked(
    chat: Conversation, deployment: Deployment, store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(turn: Turn) -> TurnUpdate:
        raise ModelError("no room for the prompt")

    chat.say("two things please")
    with monkeypatch.context() as patch:
        patch.setitem(ACTIONS, "compare", broken)
        with pytest.raises(ModelError):
            chat.say("compare them", key="second")
    broke_off = store.spans(store.recent(1)[0].trace_id)
    assert replay(deployment, broke_off).changes == ()
    spans = store.spans(chat.say("compare them", key="second").trace_id)
    assert [node.name for node in read_trace(spans).nodes] == ["act", "answer"]
    assert replay(deployment, spans).changes == ()
    answers = [
        forked(deployment, store, each, "act")[0].run.output["answer"]
        for each in (broke_off, spans)
    ]
    assert answers == [read_trace(spans).run.output["answer"]] * 2
    trace, _ = forked(deployment, store, spans, "answer")
    assert trace.run.output == read_trace(spans).run.output


def test_what_was_not_kept_of_a_turn_is_not_made_up(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = store.spans(chat.do(Understood(intent="recommend", k="2"), said="/recommend").trace_id)
    old = [
        replace(span, attributes={**span.attributes, "input.value": '{"said": "/recommend"}'})
        if span.parent_id is None
        else span
        for span in spans
    ]
    told = r"what 'understand' began with was not kept \('command'\): .* older version"
    with pytest.raises(TraceError, match=told):
        replay(deployment, old)
    with pytest.raises(TraceError, match=told):
        fork(deployment, old, "understand", edits={})
    nothing_done = [replace(span, status="ERROR") for span in spans]
    with pytest.raises(TraceError, match="broke off before anything in it was understood"):
        replay(deployment, nothing_done)


def test_a_message_of_which_a_secret_was_left_out_is_not_called_another(
    chat: Conversation, deployment: Deployment, store: TraceStore
) -> None:
    spans = said(chat, store, "my password: hunter2-and-more")
    with pytest.raises(TraceError, match="what looked like a secret in the message"):
        replay(deployment, spans)


@pytest.mark.parametrize(
    ("step", "edits", "told"),
    [
        ("profile_user", {}, "no step 'profile_user': it has understand, act, answer"),
        ("understand", {"colour": "red"}, "the state has no field 'colour': it has schema, user_"),
        ("understand", {"said": 3}, "the field 'said': it should be a text"),
        ("act", {"understood": {"intent": "dance"}}, "the field 'understood.intent'"),
        ("answer", {"understood": {}}, "the field 'understood.intent': missing, give it"),
        ("understand", {"command": {"intent": "dance"}}, "the field 'command.intent'"),
        ("understand", {"last": {}}, "the field 'last.intent': missing, give it"),
        ("understand", {"asked": {"k": "2"}}, "the field 'asked.intent': missing, give it"),
        ("understand", {"shown": [{"item_id": "i1"}]}, r"the field 'shown\.0\.title'"),
        ("answer", {"outcome": {"lead": "", "items": []}}, r"the field 'outcome\.lines'"),
        ("act", {"user_id": "ben"}, "the field 'user_id': the turn was not one of 'ben'"),
        ("act", {"picture": "none such"}, "the field 'picture': no picture 'none such' is kept"),
    ],
)
def test_a_fork_of_a_turn_that_cannot_be_meant_is_refused(
    chat: Conversation,
    deployment: Deployment,
    store: TraceStore,
    step: str,
    edits: dict[str, object],
    told: str,
) -> None:
    spans = said(chat, store, "find a blue ball")
    with pytest.raises(TraceError, match=told):
        fork(deployment, spans, step, edits=edits)


def test_a_turn_of_somebody_who_was_left_out_is_understood_and_no_more(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", talker()) as first:
        fuse_missing(first)
        with TraceStore.open(first.home.traces_file) as store:
            write_settings(store, TraceSettings(redact=frozenset({"users"})))
    with deploy(tmp_path / "home", talker()) as opened:
        with Conversations(Recommender(opened)) as talks, talks.begin("mia") as chat:
            last = chat.say("two things please")
        with TraceStore.open(opened.home.traces_file) as store:
            spans = store.spans(last.trace_id)
            assert replay(opened, spans).changes == ()
            trace, told = forked(opened, store, spans, "understand")
            whole, _ = forked(opened, store, spans, "understand", user_id="mia")
            with pytest.raises(TraceError, match="the turn was not one of 'ben'"):
                fork(opened, spans, "understand", edits={"user_id": "ben"})
            fork(opened, spans, "understand", edits={"said": "what is the weather"})
        opened.home.delete_user("mia")
        assert opened.home.steps.delete_owner(str(trace.run.user)) == 0
    assert told == [
        "the fork ends before 'act': whose turn it was was left out when the trace was written "
        "(redacted): name them with --state, as 'user_id'"
    ]
    assert [node.name for node in trace.nodes] == ["understand"]
    assert len(whole.run.output["items"]) == 2
    assert whole.run.user == trace.run.user != "mia"
    assert "mia" not in as_json([whole.run.input, whole.run.edits])
