import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from opentelemetry import trace as otel

from mllm_srec.agent.deadline import within
from mllm_srec.agent.errors import DeadlineExceeded
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.inspection.view import marks
from mllm_srec.agent.results import Tokens
from mllm_srec.agent.tracing.attributes import as_json
from mllm_srec.agent.tracing.calls import TracedCalls
from mllm_srec.agent.tracing.tracer import Tracer, engine_time
from mllm_srec.llm.engine import (
    Answer,
    EngineInfo,
    EngineLost,
    LabelScores,
    Message,
    Picture,
    Prompt,
    Usage,
)
from mllm_srec.llm.pictures import as_png
from mllm_srec.store.spans import Span
from mllm_srec.store.traces import TraceStore

PICTURE = Picture(pixels=bytes(range(192)), key="c0ffee", width=8, height=8)
HELD = '{"title":"Colour"}'


class Parrot:
    """Answers with the prompt's own words; says what a test wants to see recorded."""

    info = EngineInfo("scripted", "1", "parrot", "ab" * 32, "float32")

    def __init__(self, *, stored: bool = False, error: BaseException | None = None) -> None:
        self._usage = Usage(100, 20, 80, stored=stored)
        self._error = error

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        with engine_time():
            await asyncio.sleep(0.01)
        if self._error:
            raise self._error
        return [
            Answer(prompt.messages[-1].text[:max_tokens], self._usage, True) for prompt in prompts
        ]

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        return [
            LabelScores({"Yes": -0.5 - at, "No": -1.0}, self._usage) for at in range(len(prompts))
        ]

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), 4), np.float32)


def ask(text: str, *pictures: Picture) -> Prompt:
    return Prompt((Message("system", "Be brief."), Message("user", text, pictures)))


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore.open(tmp_path / "traces.sqlite")


@pytest.fixture
def tracer(store: TraceStore) -> Tracer:
    return Tracer(store)


def named(spans: Sequence[Span], name: str) -> Span:
    [found] = [span for span in spans if span.name == name]
    return found


def test_a_run_its_nodes_and_its_calls_form_one_tree(store: TraceStore, tracer: Tracer) -> None:
    async def work() -> str:
        calls = TracedCalls(Parrot())
        with tracer.run("recommend", user="u1", inputs={"k": 5}, engine=Parrot.info) as run:
            with tracer.node("look", inputs=["i1"], prompt_hash="beef") as node:
                [answer] = await calls.generate([ask("red?", PICTURE)], max_tokens=9)
                node.event("dropped", item="i2", reason="seen")
                node.output({"what": answer.text})
            with tracer.node("score"):
                await calls.score_labels([ask("a"), ask("b")], ["Yes", "No"])
            run.output({"items": ["i1"]})
        return run.trace_id

    spans = store.spans(asyncio.run(work()))
    root, look, score = (named(spans, name) for name in ("recommend", "look", "score"))
    assert root.parent_id is None
    assert {look.parent_id, score.parent_id} == {root.span_id}
    assert [span.parent_id for span in spans if span.kind == "LLM"] == [
        look.span_id,
        score.span_id,
        score.span_id,
    ]
    assert {span.status for span in spans} == {"OK"}
    assert root.attributes["user.id"] == "u1"
    assert root.attributes["input.value"] == '{"k": 5}'
    assert root.attributes["srec.path"] == ("look", "score")
    assert look.attributes["output.value"] == '{"what": "red?"}'
    assert look.attributes["srec.prompt_hash"] == "beef"
    assert score.attributes["graph.node.parent_id"] == "look"
    assert look.events[0].name == "dropped"


def test_a_call_is_recorded_by_openinference_names(store: TraceStore, tracer: Tracer) -> None:
    async def work() -> str:
        with tracer.run("recommend") as run:
            await TracedCalls(Parrot()).generate(
                [replace(ask("red?", PICTURE), schema=HELD)], max_tokens=9
            )
        return run.trace_id

    call = named(store.spans(asyncio.run(work())), "generate").attributes
    assert call["openinference.span.kind"] == "LLM"
    assert call["llm.model_name"] == "parrot"
    assert call["llm.input_messages.0.message.content"] == "Be brief."
    part = "llm.input_messages.1.message.contents"
    address = str(call[f"{part}.0.message_content.image.image.url"])
    assert store.blob(address.removeprefix("sha256:")) == as_png(PICTURE)
    assert call[f"{part}.1.message_content.text"] == "red?"
    assert call["llm.output_messages.0.message.content"] == "red?"
    assert call["llm.token_count.prompt"] == 100
    assert call["llm.token_count.prompt_details.cache_read"] == 80
    assert json.loads(str(call["llm.invocation_parameters"])) == {
        "max_tokens": 9,
        "schema": f"Colour {sha256(HELD.encode()).hexdigest()[:16]}",
    }


def test_label_log_probabilities_are_recorded_for_each_prompt(
    store: TraceStore, tracer: Tracer
) -> None:
    async def work() -> str:
        with tracer.run("recommend") as run:
            await TracedCalls(Parrot()).score_labels([ask("a"), ask("b")], ["Yes", "No"])
        return run.trace_id

    [node] = read_trace(store.spans(asyncio.run(work()))).nodes
    assert [call.answer for call in node.calls] == ["Yes", "No"]
    assert [call.logprobs["Yes"] for call in node.calls] == [-0.5, -1.5]
    assert [call.batch for call in node.calls] == [2, 2]


def test_users_side_by_side_keep_their_own_trees(store: TraceStore, tracer: Tracer) -> None:
    calls = TracedCalls(Parrot())

    async def one(user: str) -> str:
        with tracer.run("recommend", user=user) as run:
            for name in ("first", "second"):
                with tracer.node(name):
                    await asyncio.gather(
                        calls.generate([ask(f"{user} {name}")], max_tokens=99),
                        asyncio.to_thread(lambda: asyncio.run(calls.embed([user]))),
                    )
        return run.trace_id

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(f"u{number}") for number in range(8)))

    for number, trace_id in enumerate(asyncio.run(all_of_them())):
        trace = read_trace(store.spans(trace_id))
        assert trace.run.user == f"u{number}"
        assert [node.name for node in trace.nodes] == ["first", "second"]
        for node in trace.nodes:
            answers = {call.kind: call for call in node.calls}
            assert answers["generate"].answer == f"u{number} {node.name}"
            assert answers["embed"].prompt == f'["u{number}"]'


def test_a_run_sums_up_what_it_took(tracer: Tracer) -> None:
    async def work() -> None:
        calls = TracedCalls(Parrot())
        stored = TracedCalls(Parrot(stored=True))
        with tracer.run("recommend") as run:
            for _ in range(2):
                with tracer.node("summarize"):
                    both = (calls.generate([ask("x")], max_tokens=9) for _ in range(2))
                    await asyncio.gather(*both)
            with tracer.node("explain"):
                await stored.generate([ask("x")], max_tokens=9)
        assert run.path == ["summarize", "summarize", "explain"]
        assert run.tokens["summarize"] == Tokens(calls=4, prompt=400, completion=80, cached=320)
        assert run.tokens["explain"] == Tokens(stored=1)
        assert sum(run.seconds.values()) <= run.total_seconds
        # Two calls at a time overlap: three waits of .01 s, not five.
        assert 0.03 <= run.engine_seconds <= run.total_seconds

    asyncio.run(work())


@pytest.mark.parametrize("error", [EngineLost("gone"), asyncio.CancelledError("stopped")])
def test_a_failure_is_recorded_on_the_call_the_node_and_the_run_and_goes_on(
    store: TraceStore, tracer: Tracer, error: BaseException
) -> None:
    async def work() -> None:
        with tracer.run("recommend"), tracer.node("explain"):
            await TracedCalls(Parrot(error=error)).generate([ask("x")], max_tokens=9)

    with pytest.raises(type(error)):
        asyncio.run(work())
    spans = store.spans(store.recent()[0].trace_id)
    assert {span.status for span in spans} == {"ERROR"}
    assert named(spans, "generate").message == f"{type(error).__name__}: {error}"
    [node] = read_trace(spans).nodes
    assert node.calls[0].answer is None


def test_what_a_deadline_cut_off_says_so(store: TraceStore, tracer: Tracer) -> None:
    async def work() -> None:
        with tracer.run("recommend"), tracer.node("explain"):
            await asyncio.create_task(within(None, asyncio.sleep(60)))

    with pytest.raises(DeadlineExceeded):
        asyncio.run(within(0.05, within(60, work())))
    trace = read_trace(store.spans(store.recent()[0].trace_id))
    told = "deadline: no answer within 0.05 s"
    assert (trace.run.error, trace.nodes[0].error) == (told, told)
    assert list(marks(trace.nodes[0])) == ["timed out"]


def test_a_run_that_a_user_stopped_is_not_late(store: TraceStore, tracer: Tracer) -> None:
    async def work() -> None:
        with tracer.run("recommend"):
            await asyncio.sleep(60)

    async def stopped() -> None:
        task = asyncio.create_task(within(60, work()))
        await asyncio.sleep(0.01)
        task.cancel(msg=object())
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(stopped())
    assert read_trace(store.spans(store.recent()[0].trace_id)).run.error == (
        "CancelledError: stopped"
    )


def test_outside_a_run_calls_pass_and_nodes_are_refused(store: TraceStore, tracer: Tracer) -> None:
    calls = TracedCalls(Parrot())
    [answer] = asyncio.run(calls.generate([ask("x")], max_tokens=9))
    assert answer.text == "x"
    assert store.recent() == []
    with pytest.raises(LookupError, match=r"enter `tracer\.run` first"), tracer.node("look"):
        pass


def test_nothing_global_changes(tracer: Tracer) -> None:
    with tracer.run("recommend"), tracer.node("look"):
        assert not otel.get_current_span().is_recording()
        assert not otel.get_tracer("another program").start_span("x").is_recording()


def test_processes_that_seed_random_alike_do_not_overwrite_each_others_spans(
    store: TraceStore,
) -> None:
    """As two processes with vLLM do, which seeds Python's `random` when it starts."""
    before, ids = random.getstate(), []
    try:
        for _ in range(2):
            random.seed(0)
            tracer = Tracer(store)
            with tracer.run("recommend") as run, tracer.node("load_user"):
                pass
            ids.append(run.trace_id)
    finally:
        random.setstate(before)
    assert ids[0] != ids[1]
    for trace_id in ids:
        assert [span.name for span in store.spans(trace_id)] == ["recommend", "load_user"]


def test_the_environment_cuts_no_prompt(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10")
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "2")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with Tracer(store).run("recommend", user="u" * 99, inputs="x" * 99) as run:
        run.output("y" * 99)
    [root] = store.spans(run.trace_id)
    assert root.attributes["user.id"] == "u" * 99
    assert root.attributes["output.value"] == f'"{"y" * 99}"'


def test_a_trace_that_cannot_be_written_is_told_and_the_run_goes_on(
    store: TraceStore, tracer: Tracer
) -> None:
    assert tracer.problem is None
    store.close()
    calls = TracedCalls(Parrot())
    with tracer.run("recommend"):
        [answer] = asyncio.run(calls.generate([ask("x", PICTURE)], max_tokens=9))
    assert answer.text == "x"
    assert "cannot use the traces" in str(tracer.problem)


def test_a_call_is_written_together_with_its_pictures(
    store: TraceStore, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, written = store.put_spans, list[tuple[list[str], list[bytes]]]()

    def noted(spans: list[Span], blobs: Iterable[bytes]) -> None:
        written.append(([each.name for each in spans], list(blobs)))
        put(spans, written[-1][1])

    with tracer.run("recommend"), tracer.node("look"):
        monkeypatch.setattr(store, "put_spans", noted)
        asyncio.run(TracedCalls(Parrot()).generate([ask("x", PICTURE)], max_tokens=9))
        assert written == [(["generate"], [as_png(PICTURE)])]


def test_a_switched_off_sdk_is_told_and_the_run_goes_on(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracer = Tracer(store)
    with tracer.run("recommend") as run, tracer.node("look"):
        [answer] = asyncio.run(TracedCalls(Parrot()).generate([ask("x")], max_tokens=9))
    assert (answer.text, run.tokens["look"].calls) == ("x", 1)
    assert "OTEL_SDK_DISABLED" in str(tracer.problem)


KILLED = """
import asyncio, os, sys
from pathlib import Path
from mllm_srec.agent.tracing.tracer import Tracer
from mllm_srec.store.traces import TraceStore
tracer = Tracer(TraceStore.open(Path(sys.argv[1])))
with tracer.run("recommend", user="u1"):
    with tracer.node("load_user") as node:
        node.output("done")
    with tracer.node("score_targets"):
        os.kill(os.getpid(), 9)
"""


def test_a_killed_run_keeps_what_had_ended_and_shows_where_it_died(tmp_path: Path) -> None:
    path = tmp_path / "traces.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -9
    with TraceStore.open(path, create=False) as store:
        trace = read_trace(store.spans(store.recent()[0].trace_id))
    assert (trace.run.user, trace.run.seconds, trace.run.status) == ("u1", None, "UNSET")
    assert [(node.name, node.status, node.output) for node in trace.nodes] == [
        ("load_user", "OK", "done"),
        ("score_targets", "UNSET", None),
    ]


def test_values_of_any_kind_become_json() -> None:
    value = {
        "info": Parrot.info,
        "bytes": b"1234",
        "vector": np.ones(2),
        "set": {2, 1},
        "p": Path("x"),
    }
    assert json.loads(as_json(value)) == {
        "info": {
            "engine": "scripted",
            "version": "1",
            "model": "parrot",
            "model_hash": "ab" * 32,
            "dtype": "float32",
        },
        "bytes": "<4 bytes>",
        "vector": [1.0, 1.0],
        "set": [1, 2],
        "p": "PosixPath('x')",
    }
