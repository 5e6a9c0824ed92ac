"""The bench of recording counts what recording does, and nothing else."""

import time
from collections.abc import Iterable
from pathlib import Path

from bench.recording import Stopwatch, record_turns
from bench.traces import fill, turn
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.traces import TraceStore
from tests.agent.shop import answer, deploy, scripted

SLEEP_S = 0.02


class Slow(TraceStore):
    """A trace file that takes its time."""

    writes = 0

    def put_spans(self, spans: Iterable[Span], blobs: Iterable[bytes] = ()) -> None:
        """Write after a while."""
        if batch := list(spans):
            type(self).writes += 1
            time.sleep(SLEEP_S)
            super().put_spans(batch, blobs)


def test_what_the_trace_file_takes_is_recording_and_what_the_engine_takes_is_not(
    tmp_path: Path,
) -> None:
    def slowly(prompt: Prompt) -> str:
        time.sleep(SLEEP_S)
        return answer(prompt)

    engine = ScriptedEngine(answer=slowly, score=scripted().score)
    with (
        deploy(tmp_path / "home", engine) as deployment,
        Slow.open(tmp_path / "slow.sqlite") as traces,
    ):
        fuse_missing(deployment)
        engine.generated.clear()
        found = record_turns(deployment, traces, ["nobody", "mia", "ben"])
        roots = traces.recent()
    asked = len(engine.generated) * SLEEP_S
    assert [root.attributes["user.id"] for root in roots] == ["ben", "mia", "nobody"]
    assert found.turns == 2
    assert found.bytes > 0
    # The run of the first user, who warms up, wrote some of them.
    assert found.recording >= 0.6 * Slow.writes * SLEEP_S
    assert found.recording <= found.seconds - asked


def test_a_stopwatch_counts_what_is_nested_once_and_stands_still_where_told() -> None:
    # Read when something starts or stops.
    times = iter([0.0, 1.0, 3.0, 10.0, 50.0, 60.0])
    watch = Stopwatch(clock=lambda: next(times))
    with watch.running():
        with watch.running():
            pass
        with watch.running(on=False):
            pass
    # From 10 to 50 it stood still.
    assert watch.seconds == 20.0


def test_made_turns_are_whole_traces(tmp_path: Path) -> None:
    with TraceStore.open(tmp_path / "made.sqlite") as store:
        fill(store, 1_002)
        assert len(find(store, TraceFilter())) == 1_002
        assert len(find(store, TraceFilter(words="word77"))) > 0
        assert len(find(store, TraceFilter(failed=True))) == 2
        trace = load_trace(store, turn(1_001)[0].trace_id)
    assert len(turn(0)) == 10
    assert trace.missing == ()
    assert [len(node.calls) for node in trace.nodes] == [0, 1, 1, 1, 1]
