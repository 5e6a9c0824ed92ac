import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mllm_srec.agent.inspection.listing import follow, parse_time
from mllm_srec.agent.tracing.tracer import Tracer
from mllm_srec.store.home import Home
from mllm_srec.store.trace_search import TraceFilter
from mllm_srec.store.traces import TraceStore

NOW = datetime(2026, 11, 20, 18, tzinfo=UTC)
PATIENCE_S = 120
SREC = "from mllm_srec.agent.cli import main; main()"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    """The traces of a home, in which two users were served."""
    with Home.open(tmp_path / "home", create=True) as home:
        path = home.traces_file
    with TraceStore.open(path) as opened:
        tracer = Tracer(opened)
        for user, text in (("mia", "a red kite"), ("ben", "a blue drum")):
            with tracer.run("recommend", user=user), tracer.node("explain") as node:
                node.output(text)
        yield opened


def srec(store: TraceStore, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SREC, "trace", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        env={**os.environ, "SREC_HOME": str(store.path.parents[1]), "COLUMNS": "120"},
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30m", datetime(2026, 11, 20, 17, 30, tzinfo=UTC)),
        ("1.5h", datetime(2026, 11, 20, 16, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 13, 18, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T18:00", NOW),
        ("2026-11-20T20:00+02:00", NOW),
    ],
)
def test_times_are_read_as_people_write_them(text: str, wanted: datetime) -> None:
    assert parse_time(text, now=NOW) == round(wanted.timestamp() * 1e9)


@pytest.mark.parametrize("text", ["999999d", "2300-01-01", "1500-01-01", "0001-01-01T00:00+14:00"])
def test_a_time_that_no_trace_can_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"out of range: traces have times from 1678 to 2261"):
        parse_time(text, now=NOW)


@pytest.mark.parametrize("text", ["", "soon", "7 days", "-3h", "2026-13-01"])
def test_what_is_no_time_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(ValueError, match="write 30m, 2h, 7d"):
        parse_time(text, now=NOW)


def test_a_list_is_filtered_and_searched_from_the_command_line(store: TraceStore) -> None:
    done = srec(store, "list", "kite", "--node", "explain", "--since", "1h", "--json")
    [run] = map(json.loads, done.stdout.splitlines())
    assert (run["user"], run["status"], run["score"]) == ("mia", "OK", None)
    nobody = srec(store, "list", "kite", "--user", "ben")
    assert nobody.returncode == 0
    assert "No trace is like that" in nobody.stdout
    wrong = srec(store, "list", "--since", "soon")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--since" in wrong.stderr


def test_a_run_that_ends_after_newer_ones_began_is_followed(store: TraceStore) -> None:
    # What is never told of would be waited for without an end.
    patience = threading.Timer(PATIENCE_S, store.close)
    patience.start()
    with TraceStore.open(store.path) as written:
        tracer = Tracer(written)
        with tracer.run("recommend", user="ada") as old:
            runs = follow(store, TraceFilter(), 1)
            assert next(runs).trace_id == old.trace_id
            with tracer.run("recommend", user="zoe") as new, tracer.run("recommend", user="eve"):
                pass
        seen = [next(runs) for _ in range(3)]
    patience.cancel()
    assert {(run.user, run.status) for run in seen} == {
        ("ada", "OK"),
        ("zoe", "OK"),
        ("eve", "OK"),
    }
    assert new.trace_id in {run.trace_id for run in seen}


@pytest.mark.parametrize("option", ["--slower", "--faster", "--min-score", "--max-score"])
def test_what_is_no_number_is_no_limit(store: TraceStore, option: str) -> None:
    done = srec(store, "list", option, "nan")
    assert (done.returncode, done.stdout) == (2, "")
    assert option in done.stderr


def test_a_list_that_follows_shows_a_run_when_it_starts_and_when_it_ends(store: TraceStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SREC, "trace", "list", "--follow", "--json", "--user", "ada"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SREC_HOME": str(store.path.parents[1])},
    ) as listing:
        assert listing.stdout is not None
        with Tracer(store).run("recommend", user="ada") as run:
            started = json.loads(listing.stdout.readline())
        ended = json.loads(listing.stdout.readline())
        listing.send_signal(signal.SIGINT)
        assert listing.wait(120) == 130
    assert started["trace_id"] == ended["trace_id"] == run.trace_id
    assert (started["status"], ended["status"]) == ("UNSET", "OK")
