"""Where a run's time went: what the engine told, what the stores took, and no more than that."""

import asyncio
import io
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from mllm_srec.agent.inspection.html import html_page
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.records import CallRecord, NodeRecord, RunRecord, TraceRecord
from mllm_srec.agent.inspection.waterfall import bars, waterfall
from mllm_srec.agent.tracing.calls import TracedCalls
from mllm_srec.agent.tracing.tracer import Tracer
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Message, Prompt, Usage
from mllm_srec.store.clock import store_time, watching
from mllm_srec.store.traces import TraceStore

INFO = EngineInfo("vllm", "1", "tiny", "ab" * 32, "bfloat16")
SLEEP_S = 0.02


class Telling:
    """An engine that tells its phases, and looks into a store first."""

    info = INFO

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        with store_time("Catalogue"):
            await asyncio.sleep(SLEEP_S)
        return [Answer("red", self._usage, True) for _ in prompts]

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        return [LabelScores({"Yes": -0.5, "No": -1.0}, self._usage) for _ in prompts]

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), 4), np.float32)


def recorded(path: Path, usage: Usage) -> TraceRecord:
    """A run of one node that reads a store and then asks twice."""
    prompt = Prompt((Message("user", "red?"),))
    with TraceStore.open(path / "traces.sqlite") as store:
        tracer, calls = Tracer(store), TracedCalls(Telling(usage))

        async def work() -> str:
            with tracer.run("recommend") as run, tracer.node("fuse_items"):
                with store_time("Catalogue"):
                    time.sleep(SLEEP_S)
                await calls.generate([prompt, prompt], max_tokens=9)
            return run.trace_id

        return load_trace(store, asyncio.run(work()))


def test_phases_and_store_time_are_recorded(tmp_path: Path) -> None:
    [node] = recorded(tmp_path, Usage(9, 1, 0, 0.0, 0.002, 0.001)).nodes
    assert [dict(call.phases) for call in node.calls] == 2 * [
        {"queue": 0.0, "prefill": 0.002, "decode": 0.001}
    ]
    phases = node.phases
    assert phases["prefill"] == pytest.approx(0.002)  # two side by side take no longer than one
    assert phases["other"] == pytest.approx(node.engine_seconds - 0.003)
    # The store that a call looks into is a part of the call.
    assert node.store_seconds is not None
    assert node.seconds is not None
    assert SLEEP_S <= node.store_seconds <= node.seconds - node.engine_seconds + 0.001
    assert node.engine_seconds >= SLEEP_S
    assert node.to_dict()["store_seconds"] == node.store_seconds
    [(store, (uses, seconds))] = node.stores.items()
    assert (store, uses) == ("Catalogue", 1)
    assert seconds == pytest.approx(node.store_seconds, abs=1e-6)


def test_an_engine_that_does_not_say_gets_no_phases(tmp_path: Path) -> None:
    trace = recorded(tmp_path, Usage(9, 1))
    [node] = trace.nodes
    assert node.phases == {}
    assert "phases" not in node.calls[0].to_dict()
    [bar], _ = bars(trace)
    assert set(bar.parts) <= {"engine", "store", "code"}


def made(seconds: float | None, *calls: CallRecord, store_s: float | None = None) -> TraceRecord:
    run = RunRecord(
        trace_id="ab" * 16,
        name="recommend",
        user="u1",
        started=datetime(2026, 11, 20, tzinfo=UTC),
        seconds=seconds,
        status="OK",
    )
    node = NodeRecord(
        name="explain",
        step="explain",
        depth=1,
        offset=0.0,
        seconds=seconds,
        status="OK",
        store_seconds=store_s,
        calls=calls,
    )
    return TraceRecord(run=run, nodes=(node,))


def ask(seconds: float, **phases: float) -> CallRecord:
    return CallRecord(kind="generate", prompt="red?", seconds=seconds, phases=phases)


@pytest.mark.parametrize(
    ("trace", "wanted"),
    [
        (made(1.0), {"code": 1.0}),
        (made(1.0, ask(0.5)), {"engine": 0.5, "code": 0.5}),
        (
            made(1.0, ask(0.5, queue=0.1, prefill=0.2, decode=0.1), store_s=0.25),
            {
                "queue": 0.1,
                "prefill": 0.2,
                "decode": 0.1,
                "engine": 0.1,
                "store": 0.25,
                "code": 0.25,
            },
        ),
        # Calls of different batches side by side: their parts share what there was.
        (made(1.0, ask(1.0), ask(1.0)), {"engine": 1.0}),
        (made(None), {}),
    ],
)
def test_a_bar_is_as_long_as_its_node(trace: TraceRecord, wanted: dict[str, float]) -> None:
    [bar], _ = bars(trace)
    assert bar.parts == pytest.approx(wanted)


def test_terminal_and_page_name_the_parts_that_are_there() -> None:
    trace = made(1.0, ask(0.5, prefill=0.3, decode=0.2), store_s=0.25)
    text = screen(trace, 160)
    assert "▓" * 12 + "█" * 8 + "▒" * 10 + "·" * 10 in text
    assert "prefill 0.30, decode 0.20, store 0.25, code 0.25" in text
    assert "store: stores" in text
    assert "queue" not in text
    page = html_page(trace, lambda _: None)
    drawn = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="1" width="([\d.]+)"', page)
    assert drawn == [
        ("prefill", "0.000", "30.000"),
        ("decode", "30.000", "20.000"),
        ("store", "50.000", "25.000"),
        ("code", "75.000", "25.000"),
    ]
    assert '<span class="key store"></span> stores' in page
    assert "key queue" not in page


def test_parts_are_told_apart_without_colours() -> None:
    phases = ask(0.5, queue=0.1, prefill=0.1, decode=0.1)
    text = screen(made(1.0, phases, store_s=0.25), 160) + screen(nested(), 160)
    signs = dict(re.findall(r"(\S) (\w+): [a-z]", text))
    assert [*signs.values()] == ["queue", "prefill", "decode", "engine", "store", "code", "nodes"]


def screen(trace: TraceRecord, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(waterfall(trace))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def nested() -> TraceRecord:
    """A turn whose `act` runs two nodes."""
    outer = made(4.0)
    [act] = outer.nodes
    inner = [
        replace(act, name=name, step=name, depth=2, offset=at, seconds=1.5, calls=(ask(1.25),))
        for name, at in (("profile_user", 0.5), ("explain", 2.25))
    ]
    answer = replace(act, name="answer", step="answer", offset=4.0, seconds=0.5)
    return replace(outer, nodes=(replace(act, name="act", step="act"), *inner, answer))


def test_the_time_of_the_nodes_below_a_node_is_not_called_its_own() -> None:
    act, profile, explain, answer = bars(nested())[0]
    assert act.parts == pytest.approx({"nodes": 3.0, "code": 1.0})
    assert act.own_seconds == 1.0
    assert profile.parts == explain.parts == pytest.approx({"engine": 1.25, "code": 0.25})
    assert answer.parts == {"code": 0.5}
    told = "slowest: profile_user, 1.50 s, 33% of the run"
    assert told in screen(nested(), 100)
    assert told in html_page(nested(), lambda _: None)
    # What lies between the nodes is a part of the run, too.
    longer = replace(nested(), run=replace(nested().run, seconds=15.0))
    assert "slowest: profile_user, 1.50 s, 10% of the run" in screen(longer, 100)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_of_any_width_shows_whole_bars(width: int) -> None:
    text = screen(nested(), width)
    assert "…" not in text
    *_, last = [line for line in text.splitlines() if line.startswith("answer")]
    assert "·" in last


def test_store_time_counts_once_and_only_where_it_is_watched() -> None:
    told: list[tuple[str, float]] = []
    with store_time("Catalogue"):
        pass
    with watching(lambda store, seconds: told.append((store, seconds))):
        with store_time("Chroma"), store_time("Catalogue"):
            time.sleep(SLEEP_S)
        with watching(None), store_time("Catalogue"):
            pass
    [(store, seconds)] = told
    assert store == "Chroma"
    assert seconds >= SLEEP_S
