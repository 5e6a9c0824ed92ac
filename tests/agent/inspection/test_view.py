import hashlib
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console, RenderableType

from mllm_srec.agent.inspection.html import html_page
from mllm_srec.agent.inspection.listing import listed, run_line, run_table
from mllm_srec.agent.inspection.pictures import drawing
from mllm_srec.agent.inspection.reading import read_run, read_trace
from mllm_srec.agent.inspection.sections import shown
from mllm_srec.agent.inspection.view import marks, token_line, trace_tree
from mllm_srec.agent.results import Tokens
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


def marked(*nodes: Span) -> list[str]:
    """The marks of the last node of a run."""
    trace = read_trace([span(1, None, "recommend", "AGENT"), *nodes])
    return list(marks(trace.nodes[-1]))


def failed(message: str) -> Span:
    return span(2, 1, "explain", "CHAIN", status="ERROR", message=message)


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([span(2, 1, "explain", "CHAIN")], []),
        ([failed("EngineLost: gone"), span(3, 1, "explain", "CHAIN")], ["try 2"]),
        ([failed("deadline: no answer within 2.0 s")], ["timed out"]),
        ([failed("deadline: [redacted]")], ["timed out"]),
        ([failed("NodeTimeoutError: too long")], ["timed out"]),
        ([failed("CancelledError: ")], []),
        (
            [span(2, 1, "explain", "CHAIN"), call(3, 2, "x", "y", **{"srec.stored": True})],
            ["all from the cache"],
        ),
        ([span(2, 1, "explain", "CHAIN"), call(3, 2, "x", "y")], []),
        (
            [
                span(
                    2,
                    1,
                    "explain",
                    "CHAIN",
                    attributes={"output.value": '{"reasons": [{"fallback": true}]}'},
                )
            ],
            ["plain form"],
        ),
    ],
)
def test_what_was_out_of_the_ordinary_is_marked(nodes: list[Span], wanted: list[str]) -> None:
    assert marked(*nodes) == wanted


def test_a_call_without_an_answer_says_so_unless_an_error_does(spans: list[Span]) -> None:
    silent = replace(call(6, 5, "x", ""), attributes={"llm.input_messages.0.message.role": "user"})
    said = "no answer was recorded"
    assert said in render(trace_tree(read_trace([*spans, silent])))
    lost = replace(silent, status="ERROR", message="EngineLost: gone")
    assert said not in render(trace_tree(read_trace([*spans, lost])))


def nowhere(digest: str) -> None:
    """No bytes of a picture are kept."""
    del digest


def test_a_picture_that_is_not_kept_is_told_on_any_terminal(spans: list[Span]) -> None:
    url = "llm.input_messages.1.message.contents.0.message_content.image.image.url"
    for address in ("[lost]", "[redacted]", f"sha256:{'ab' * 32}"):
        trace = read_trace([*spans[:2], call(6, 2, "x", "y", **{url: address})])
        console = Console(color_system=None)
        text = render(trace_tree(trace, draw=drawing(nowhere, console)))
        assert text.count("picture not here") == 1


@pytest.mark.parametrize(
    ("name", "given", "made", "asked", "gave"),
    [
        (
            "recommend",
            {"user": "u1", "k": 5, "conditions": "red", "as_of": 3, "now": 17, "only": ["a"] * 9},
            {"items": ["i1", "i2", "i3", "i4", "i5"]},
            "5 items, red, as of position 3, of 9 given items",
            "i1, i2, i3 and 2 more",
        ),
        ("recommend", {"user": "u1", "k": 0}, {"items": []}, "0 items", "no items"),
        (
            "turn",
            {"turn": 2, "said": "something  red?"},
            {"intent": "recommend", "answer": "Here:\n1. Kite [i2]"},
            "something red?",
            "Here: 1. Kite [i2]",
        ),
        (
            "turn",
            {"turn": 2, "said": "like this", "picture": "0" * 64, "command": None},
            None,
            "like this, with a picture",
            "",
        ),
        (
            "tool search_text",
            {"words": "kite"},
            {"items": [{"item_id": "i2", "title": "Kite", "price": 3}]},
            "words kite",
            "Kite i2",
        ),
        ("ingest", {"items": 8}, None, "items 8", ""),
        ("recommend", "[redacted]", "[redacted]", "[redacted]", "[redacted]"),
    ],
)
def test_the_head_says_what_was_asked_and_given(
    name: str, given: object, made: object, asked: str, gave: str
) -> None:
    root = {"input.value": json.dumps(given)}
    node = {} if made is None else {"output.value": json.dumps(made)}
    if not name.startswith("tool"):
        root |= node
    trace = read_trace(
        [
            span(1, None, name, "AGENT", attributes=root),
            span(2, 1, "node", "CHAIN", attributes=node),
        ]
    )
    text = render(trace_tree(trace))
    page = html_page(trace, nowhere)
    assert f"asked {asked}" in text
    assert f"<p>asked <strong>{asked}</strong></p>" in page
    assert (f"gave {gave}" in text) is bool(gave)
    assert (f"<p>gave <strong>{gave}</strong></p>" in page) is bool(gave)


def test_nodes_that_were_not_visited_are_named(spans: list[Span]) -> None:
    def head(*path: str, **more: object) -> str:
        root = span(1, None, "recommend", "AGENT", attributes={"srec.path": path}, **more)
        return render(trace_tree(read_trace([root])))

    cold = ("load_user", "retrieve_candidates", "score_targets", "explain")
    assert "not taken: fuse_items, summarize_preferences, profile_user\n" in head(*cold)
    assert "not taken" not in head("score_targets", "explain")
    assert "not taken" not in head("search_text")
    assert "not taken" not in head("load_user", status="ERROR")


def test_each_window_is_shown_once_and_whole_with_what_it_moved() -> None:
    def passed(number: int, **preference: list[str]) -> Span:
        window = {"start": number, "stop": number + 1, "preference": preference}
        update = {"output.value": json.dumps({"windows": [window]})}
        return span(number, 1, "summarize_preferences", "CHAIN", attributes=update)

    values = [f"value-{number}" for number in range(30)]
    passes = passed(2, clear=["red"], slight=["wood"]), passed(3, strong=["red"], slight=values)
    trace = read_trace([span(1, None, "recommend", "AGENT"), *passes])
    [[first], [second]] = (node["sections"][0]["rows"] for node in shown(trace)["nodes"])
    assert (first["window"], first["changed"]) == ("1: 2-3", "the first")
    assert first["preference"] == "clear red; slight wood"
    came = ", ".join(f"+{value}" for value in values)
    assert (second["window"], second["changed"]) == (
        "2: 3-4",
        f"strong +red; slight {came}, -wood; clear -red",
    )
    assert "-wood" in render(trace_tree(trace), 80)


def test_a_long_answer_is_not_cut_by_a_narrow_terminal(spans: list[Span]) -> None:
    answer = json.dumps({"seen": ["x" * 9] * 30}, separators=(",", ":"))
    text = render(trace_tree(read_trace([*spans, call(6, 5, "What is it?", answer)])), 60)
    assert answer in "".join(text.replace("│", "").split())


def test_a_list_says_what_was_asked_and_fits_a_terminal(spans: list[Span]) -> None:
    attributes = {"input.value": json.dumps({"turn": 1, "said": "red kites"}), "user.id": "u1"}
    turn = read_run(span(1, None, "turn", "AGENT", attributes=attributes))
    long = replace(turn, input={"said": "words " * 30}, parent=f"{TRACE} explain")
    text = render(run_table([turn, long]), 80)
    assert "turn red kites" in text
    assert "turn fork words words" in text
    assert [len(line.rstrip()) <= 80 for line in text.splitlines()] == [True] * 3
    assert listed(turn)["asked"] == "red kites"
    given = replace(turn, output={"items": ["i1", "i2", "i3", "i4"]})
    titles = {"i1": "Kite", "i2": "A title that is far too long for a line of a list"}
    assert listed(given, titles)["gave"] == "Kite i1, A title that is far too… i2, i3 and 1 more"
    text = render(run_table([given], titles=titles), 80)
    assert "Kite i1, A title" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "red kites" in render(run_line(turn))
    assert "srec-engine" in render(run_table([replace(turn, engine="srec-engine")], wide=True))


def test_nothing_is_said_of_tokens_where_there_were_none() -> None:
    assert token_line(Tokens(calls=1)) == "1 call"
    assert token_line(Tokens(calls=2, prompt=3)) == "2 calls, 3 + 0 tokens"


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
