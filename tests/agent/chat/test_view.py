"""Answers as they are drawn."""

import io

from PIL import Image
from rich.console import Console, RenderableType

from mllm_srec.agent.chat.view import Ticker, turn_view
from mllm_srec.agent.conversation.results import TurnItem, TurnResult
from mllm_srec.agent.events import NodeEnded, NodeStarted, PartialAnswer
from mllm_srec.agent.terminal.graph_picture import NODES
from mllm_srec.agent.terminal.item_pictures import Pictures

ITEMS = (TurnItem(item_id="i2", title="Kite"), TurnItem(item_id="i6", title="Ball"))
LIST = """\
Noted: less like Ball [i6]. For you:
1. Kite [i2], 20.00
   kite: red; cotton, from a maker of kites
2. Ball [i6], 20.00"""
ONE = """\
Kite [i2], 20.00
   kite: red"""
PICTURES = Pictures(lambda item_id: Image.new("RGB", (40, 40), (200, 20, 20)), "cells")


def drawn(view: RenderableType, width: int = 40) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def result(answer: str, *items: TurnItem) -> TurnResult:
    return TurnResult(
        turn=1, thread="t1", user="ben", said="", intent="less", answer=answer, items=items
    )


def test_pictures_stand_below_the_lead_with_the_numbers_of_the_list() -> None:
    lines = drawn(turn_view(result(LIST, *ITEMS), PICTURES))
    first = lines.index("1. Kite [i2], 20.00")
    assert lines[0] == "Noted: less like Ball [i6]. For you:"
    assert lines[first - 1].split() == ["1", "2"]
    assert first > 4


def test_a_single_item_has_its_picture_above_it_and_no_number() -> None:
    lines = drawn(turn_view(result(ONE, ITEMS[0]), PICTURES))
    assert lines.index("Kite [i2], 20.00") == len(lines) - 2
    assert "1" not in "".join(lines[:-2])


def test_what_is_said_of_an_item_stays_below_it_where_lines_break() -> None:
    lines = drawn(turn_view(result(LIST, *ITEMS), Pictures(lambda _: None, "none")), width=24)
    broken = lines.index("   kite: red; cotton,")
    assert lines[broken + 1] == "   from a maker of kites"


def test_the_answer_so_far_stands_above_the_nodes() -> None:
    ticker = Ticker()
    ticker(NodeStarted("score_targets"))
    ticker(NodeEnded("score_targets", 1.25))
    ticker(NodeStarted("explain"))
    ticker(PartialAnswer("Noted: never blue.", ()))
    ticker(PartialAnswer(LIST, ITEMS))
    *shown, nodes = drawn(ticker, width=60)
    assert shown == LIST.splitlines()
    assert nodes.split("s  ", 1)[1] == "explain …  score_targets 1.2"


def test_the_nodes_keep_to_one_line_with_what_runs_in_front() -> None:
    ticker = Ticker()
    for node in NODES[:-1]:
        ticker(NodeStarted(node))
        ticker(NodeEnded(node, 1.25))
    ticker(NodeStarted(NODES[-1]))
    [nodes] = drawn(ticker, width=80)
    assert nodes.split("s  ", 1)[1].startswith(f"{NODES[-1]} …  {NODES[-2]} 1.2  ")
    assert nodes.endswith("…")
