import hashlib
import io
import json
from typing import Any

import pytest
from PIL import Image
from rich.console import Console, RenderableType

from mllm_srec.agent.inspection.listing import run_table
from mllm_srec.agent.inspection.pictures import drawing
from mllm_srec.agent.inspection.reading import read_run, read_trace
from mllm_srec.agent.inspection.view import trace_tree
from mllm_srec.agent.terminal.output import dumps
from mllm_srec.store.spans import Attribute, Event, Span

TRACE = "ab" * 16
HOSTILE = "[bold red]sale[/] \x1b[31m\x07\u202e title"


def span(number: int, parent: int | None, name: str, kind: str, **more: object) -> Span:
    values: dict[str, object] = {
        "trace_id": TRACE,
        "span_id": f"{number:016x}",
        "parent_id": None if parent is None else f"{parent:016x}",
        "name": name,
        "kind": kind,
        "start_ns": 1_700_000_000_000_000_000 + number * 10**8,
        "end_ns": 1_700_000_000_000_000_000 + number * 10**8 + 5 * 10**7,
        "status": "OK",
        **more,
    }
    return Span(**values)  # type: ignore[arg-type]


def call(number: int, parent: int, text: str, answer: str, **more: Attribute) -> Span:
    attributes: dict[str, Attribute] = {
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.contents.0.message_content.type": "image",
        "llm.input_messages.1.message.contents.0.message_content.image.image.url": "sha256:beef",
        "llm.input_messages.1.message.contents.1.message_content.type": "text",
        "llm.input_messages.1.message.contents.1.message_content.text": text,
        "llm.output_messages.0.message.content": answer,
        "llm.token_count.prompt": 10,
        "llm.token_count.completion": 2,
        **more,
    }
    return span(number, parent, "generate", "LLM", attributes=attributes)


@pytest.fixture
def spans() -> list[Span]:
    root = {"user.id": "u1", "srec.engine": "vllm", "llm.model_name": "srec-tiny", "srec.calls": 2}
    cached = Event("cache_hit", 1_700_000_000_000_000_000, {"items": 3})
    return [
        span(1, None, "recommend", "AGENT", attributes=root),
        span(2, 1, "fuse_items", "CHAIN", attributes={"input.value": '["i1"]'}, events=(cached,)),
        call(3, 2, "What is it?", "a stroller", **{"srec.batch": 2}),
        call(4, 2, HOSTILE, HOSTILE, **{"srec.batch": 2, "srec.stored": True}),
        span(5, 1, "score_targets", "CHAIN", status="ERROR", message=f"EngineLost: {HOSTILE}"),
    ]


def render(renderable: RenderableType, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_json_of_a_trace_has_the_promised_fields(spans: list[Span]) -> None:
    data = json.loads(dumps(read_trace(spans).to_dict()))
    assert data["trace_id"] == TRACE
    assert [node["name"] for node in data["nodes"]] == ["fuse_items", "score_targets"]
    assert data["nodes"][0]["seconds"] == pytest.approx(0.05)
    first, second = data["nodes"][0]["calls"]
    assert first["prompt"] == "system:\nBe brief.\n\nuser:\nWhat is it?"
    assert first["images"] == ["sha256:beef"]
    assert first["answer"] == "a stroller"
    assert first["seconds"] == pytest.approx(0.025)
    assert (first["stored"], second["stored"]) == (False, True)
    assert data["nodes"][1]["calls"] == []


def test_the_json_of_a_run_has_what_a_list_shows(spans: list[Span]) -> None:
    data = read_run(spans[0]).to_dict()
    assert (data["trace_id"], data["user"], data["engine"], data["calls"]) == (
        TRACE,
        "u1",
        "vllm",
        2,
    )
    assert data["tokens"] is None


def test_infinite_log_probabilities_leave_the_json_valid(spans: list[Span]) -> None:
    hopeless = call(6, 5, "x", "No", **{"srec.logprob.Yes": float("-inf"), "srec.logprob.No": 0.0})
    data = json.loads(dumps(read_trace([*spans, hopeless]).to_dict()))
    assert data["nodes"][1]["calls"][0]["logprobs"] == {"Yes": None, "No": 0.0}


def test_the_tree_shows_nodes_calls_prompts_and_answers(spans: list[Span]) -> None:
    shown = render(trace_tree(read_trace(spans)))
    for wanted in (
        "recommend for u1",
        "fuse_items",
        "1 call, 20 + 4 tokens, 1 stored",
        "cache_hit items 3",
        'in ["i1"]',
        "picture sha256:beef",
        "What is it?",
        "← a stroller",
        "✗ score_targets",
    ):
        assert wanted in shown


def test_hostile_texts_of_a_trace_stay_texts(spans: list[Span]) -> None:
    shown = render(trace_tree(read_trace(spans), full=True))
    assert "[bold red]sale[/] \\x1b[31m\\x07\\u202e title" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_terminal_with_colours_shows_the_pictures_of_a_call(spans: list[Span]) -> None:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(content, "PNG")
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    url = "llm.input_messages.1.message.contents.0.message_content.image.image.url"
    trace = read_trace([*spans, call(7, 5, "x", "y", **{url: f"sha256:{digest}"})])

    def find(wanted: str) -> bytes | None:
        return content.getvalue() if wanted == digest else None

    def screen(**options: Any) -> str:
        console = Console(file=io.StringIO(), width=120, **options)
        console.print(trace_tree(trace, draw=drawing(find, console)))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    coloured = {"force_terminal": True, "color_system": "truecolor", "_environ": {"TERM": "xterm"}}
    assert screen(**coloured).count("48;2;200;30;30") >= 8  # rows of red cells
    assert "200;30;30" not in screen(color_system=None)


def test_a_long_prompt_shows_its_beginning_and_its_end(spans: list[Span]) -> None:
    prompt = "first words " + "x" * 2_000 + " last words"
    trace = read_trace([*spans, call(6, 5, prompt, "yes")])
    short = render(trace_tree(trace))
    assert "first words" in short
    assert "last words" in short
    assert "--full shows them" in short
    assert "--full" not in render(trace_tree(trace, full=True))


def test_many_calls_are_counted_unless_all_are_wanted(spans: list[Span]) -> None:
    many = [call(10 + number, 5, f"candidate {number}", "Yes") for number in range(9)]
    trace = read_trace([*spans, *many])
    assert "and 6 more calls" in render(trace_tree(trace))
    assert "candidate 8" in render(trace_tree(trace, full=True))


def test_a_run_that_died_is_shown_as_unfinished(spans: list[Span]) -> None:
    dead = span(1, None, "recommend", "AGENT", end_ns=None, status="UNSET")
    assert "unfinished" in render(run_table([read_run(dead)]))
    assert "unfinished" in render(trace_tree(read_trace([dead, *spans[1:]])))


def test_a_call_whose_node_was_lost_does_not_hide_the_others(spans: list[Span]) -> None:
    trace = read_trace([spans[0], *spans[2:]])
    assert [node.name for node in trace.nodes] == ["score_targets"]


def test_no_traces_is_said_with_the_way_out() -> None:
    assert "srec recommend" in render(run_table([]))
