"""What is told of a turn while it is worked on."""

import pytest

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.agent.events import NodeEnded, NodeStarted, PartialAnswer, Ranked
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.state import states
from mllm_srec.store.traces import TraceStore

from .talk import ids


def test_a_stream_tells_of_the_nodes_of_both_graphs_and_ends_with_the_turn(
    chat: Conversation,
) -> None:
    *events, last = chat.stream("two things please")
    started = [event.node for event in events if isinstance(event, NodeStarted)]
    assert started[:3] == ["understand", "act", "load_user"]
    assert started[-1] == "answer"
    assert isinstance(last, TurnResult)
    assert TurnResult.from_dict(last.to_dict()) == last


def test_one_trace_holds_the_turn_and_its_recommendation(
    talks: Conversations, chat: Conversation
) -> None:
    turn = chat.say("two things please")
    path = talks.home.traces_file
    with TraceStore.open(path, create=False) as traces:
        names = [span.name for span in traces.spans(turn.trace_id)]
    assert {"turn", "understand", "act", "score_targets", "answer"} <= set(names)


def test_the_trace_of_a_turn_has_the_state_that_it_began_with(
    talks: Conversations, chat: Conversation
) -> None:
    first, others = chat.say("two things please"), chat.say("others")
    with TraceStore.open(talks.home.traces_file, create=False) as traces:
        [_, before, after] = next(
            each for each in states(load_trace(traces, others.trace_id)) if each[0].name == "act"
        )
    assert [each["item_id"] for each in before["shown"]] == ids(first)
    assert [each["item_id"] for each in after["shown"]] == ids(others)
    assert before["last"]["k"] == after["last"]["k"] == "two"


def test_a_list_is_told_once_it_is_ranked_and_before_it_has_reasons(chat: Conversation) -> None:
    *events, last = chat.stream("never blue")
    assert isinstance(last, TurnResult)
    noted, listed = (event for event in events if isinstance(event, PartialAnswer))
    assert (noted.text, noted.items) == ("Noted: never blue.", ())
    assert [item.item_id for item in listed.items] == ids(last)
    assert not any(item.reason for item in listed.items)
    told = set(listed.text.splitlines())
    untold = [line for line in last.answer.splitlines() if line not in told]
    assert untold == [f"   {item.reason}" for item in last.items]
    ranked = Ranked(tuple(ids(last)))
    [explained] = (e for e in events if isinstance(e, NodeEnded) and e.node == "explain")
    assert events.index(ranked) < events.index(listed) < events.index(explained)


@pytest.mark.parametrize("line", ["who am i to you", "why not the duck", "anything purple"])
def test_what_is_no_list_is_told_when_it_is_done(chat: Conversation, line: str) -> None:
    *events, last = chat.stream(line)
    assert isinstance(last, TurnResult)
    assert not any(isinstance(event, PartialAnswer) for event in events)
