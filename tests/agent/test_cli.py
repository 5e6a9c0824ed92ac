import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mllm_srec.agent.cli_options import MOST
from mllm_srec.store.home import Home
from mllm_srec.store.spans import Span
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.items import MAX_COUNT
from tests.agent.commands import start

SREC = "from mllm_srec.agent.cli import main; main()"
COMMANDS = (
    "demo",
    "ingest",
    "recommend",
    "chat",
    "mcp",
    "trace",
    "threads",
    "serve",
    "index",
    "evaluate",
    "finetune",
    "sample-shop",
    "doctor",
    "config",
)
HEAVY = (
    "torch",
    "vllm",
    "chromadb",
    "langgraph",
    "langchain_core",
    "transformers",
    "numpy",
    "polars",
)

# Commands that only a test needs, run by the real `main`.
EXTRA = """
import os, signal, subprocess, sys
from mllm_srec.agent.cli import app, main
from mllm_srec.agent.cli_options import Json
from mllm_srec.agent.terminal.output import Output
from mllm_srec.store.errors import HomeError

@app.command()
def interrupted():
    signal.raise_signal(signal.SIGINT)

@app.command()
def refused():
    raise HomeError("no home at '/x':\\nmake one \\x1b[2J")

@app.command()
def broken():
    raise ZeroDivisionError("a bug")

@app.command()
def noisy(as_json: Json = False):
    with Output(as_json=as_json) as out:
        print("noise of a library")
        os.write(1, b"noise from C\\n")
        subprocess.run([sys.executable, "-c", "print('noise of a child')"], check=True)
        out.note("a note")
        out.result({"title": "\\ud800 \\u00e9", "score": float("nan")}, lambda _: "a view")
        out.lines([{"n": 1}, {"n": 2}], lambda _: "two lines")
    print("after")

main()
"""


def run(
    *arguments: str, program: str = SREC, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "COLUMNS": "100", **environment},
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the trace of one run."""
    path = tmp_path / "home"
    with Home.open(path, create=True) as opened:
        store = TraceStore.open(opened.traces_file)
    common = {"trace_id": "ab" * 16, "start_ns": 0, "end_ns": 10**9, "status": "OK"}
    store.put_spans(
        [
            Span(span_id="01" * 8, parent_id=None, name="recommend", kind="AGENT", **common),  # type: ignore[arg-type]
            Span(span_id="02" * 8, parent_id="01" * 8, name="explain", kind="CHAIN", **common),  # type: ignore[arg-type]
        ]
    )
    store.close()
    return path


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("group", ["", "trace", "finetune", "serve", "threads", "index"])
def test_no_summary_of_a_command_is_cut(group: str) -> None:
    listed = run(*group.split(), "--help").stdout.partition("Commands:")[2]
    assert listed
    assert "..." not in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_explains_every_option(command: str) -> None:
    def explained(path: tuple[str, ...]) -> None:
        told = run(*path, "--help").stdout
        assert told.startswith(f"Usage: srec {' '.join(path)} "), told
        options, _, listed = told.partition("Options:\n")[2].partition("Commands:\n")
        for option in options.replace("\n" + " " * 8, " ").splitlines():
            text = re.sub(r"<[^>]*>|\[[^\]]*\]|(^|\s|/ )--?[\w-]+,?", "", option)
            assert not option.strip() or text.strip(), f"{path}: {option}"
        for line in listed.splitlines():
            explained((*path, line.split()[0]))

    explained((command,))


def test_the_demo_does_not_mix_its_shop_into_your_own() -> None:
    assert "SREC_HOME" in run("recommend", "--help").stdout
    assert "SREC_HOME" not in run("demo", "--help").stdout


def test_importing_the_agent_or_the_command_line_loads_nothing_heavy() -> None:
    program = f"""
import sys, mllm_srec.agent, mllm_srec.agent.cli
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run(program=program).stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend",),
        ("recommend", ""),
        ("recommend", "u1", "-k", "0"),
        ("recommend", "u1", "-k", str(MAX_COUNT + 1)),
        ("demo", "-k", str(MAX_COUNT + 1)),
        ("recommend", "u1", "--colour"),
        ("ingest", "--interactions", "x"),
        ("ingest", "--items", "x", "--engine", "vlm"),
        ("finetune", "ablate", "--base", "x", "--out", "x", "--engine", "vllm-server"),
        ("finetune", "data", "--out", "x", "--engine", "vllm-server"),
        ("trace", "show"),
        ("nonsense",),
    ],
)
def test_wrong_use_exits_2_and_leaves_stdout_alone(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("trace", "list"), ("trace", "show", "ab"), ("index", "status"), ("serve", "status")],
)
def test_a_missing_home_exits_1_with_one_line_and_is_not_made(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments, "--json", "--home", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "srec ingest" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_failure_of_ours_is_one_line_without_escapes() -> None:
    done = run("refused", program=EXTRA)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "srec: no home at '/x': make one \\x1b[2J\n"


def test_a_bug_shows_its_traceback() -> None:
    done = run("broken", program=EXTRA)
    assert done.returncode == 1
    assert "ZeroDivisionError: a bug" in done.stderr
    assert "Traceback" in done.stderr


def test_a_list_may_be_as_long_on_the_command_line_as_anywhere() -> None:
    assert MOST == MAX_COUNT


def test_an_interrupt_exits_130_without_a_traceback() -> None:
    done = run("interrupted", program=EXTRA)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


def test_with_json_stdout_carries_json_alone() -> None:
    done = run("noisy", "--json", program=EXTRA)
    first, *others = done.stdout.splitlines()
    assert json.loads(first) == {"title": "\ud800 é", "score": None}
    assert [json.loads(line) for line in others[:2]] == [{"n": 1}, {"n": 2}]
    assert others[2:] == ["after"]
    for noise in ("noise of a library", "noise from C", "noise of a child", "a note"):
        assert noise in done.stderr


def test_without_json_people_get_the_view() -> None:
    done = run("noisy", program=EXTRA)
    assert "a view\ntwo lines\n" in done.stdout
    assert done.stderr == "a note\n"


def test_people_read_paths_below_their_home_with_a_tilde_and_programs_whole_ones(
    tmp_path: Path,
) -> None:
    given = {"HOME": str(tmp_path), "XDG_DATA_HOME": ""}
    assert "~/.local/share/srec]" in " ".join(run("config", "--help", **given).stdout.split())
    assert "~/.local/share/srec " in run("config", COLUMNS="120", **given).stdout
    [home, *_] = json.loads(run("config", "--json", **given).stdout)["settings"]
    assert home["value"] == str(tmp_path / ".local/share/srec")
    own = given | {"XDG_DATA_HOME": str(tmp_path / "data")}
    assert "~/data/srec]" in " ".join(run("config", "--help", **own).stdout.split())


def test_traces_are_listed_and_shown(home: Path) -> None:
    listed = run("trace", "list", "--json", SREC_HOME=str(home))
    [line] = listed.stdout.splitlines()
    assert json.loads(line)["trace_id"] == "ab" * 16
    shown = json.loads(run("trace", "show", "abab", "--json", "--home", str(home)).stdout)
    assert shown["nodes"][0]["name"] == "explain"
    assert shown["nodes"][0]["seconds"] == 1.0
    assert "explain" in run("trace", "show", "abab", "--home", str(home)).stdout


@pytest.mark.parametrize(
    "arguments", [("trace", "list", "--user"), ("trace", "scrub"), ("threads", "list", "--user")]
)
def test_a_name_that_is_no_text_is_told(home: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "Zo\udceb", "--home", str(home))
    assert done.returncode == 2
    assert done.stderr == "srec: 'Zo\\udceb' is not in UTF-8: write it so\n"


def shell(home: Path, command: str) -> subprocess.CompletedProcess[str]:
    """`srec` in a shell, with its streams as the command line says."""
    return subprocess.run(
        f"{sys.executable} -c '{SREC}' {command}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SREC_HOME": str(home)},
    )


@pytest.mark.parametrize("command", ["trace show abab --json", "trace list"])
def test_a_reader_that_has_enough_ends_a_command_in_silence(home: Path, command: str) -> None:
    assert shell(home, f"{command} | true").stderr == ""


@pytest.mark.parametrize(
    "command", ["--help", "--version", "config", "config --json", "trace list", "trace list --json"]
)
def test_a_full_disk_behind_standard_output_is_one_line(home: Path, command: str) -> None:
    done = shell(home, f"{command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "srec: standard output cannot be written: No space left on device\n"


def test_closed_streams_are_told_or_done_without(home: Path) -> None:
    done = shell(home, "trace list --json >&-")
    assert done.returncode == 1
    assert done.stderr == "srec: standard output is closed: send it to a file or to /dev/null\n"
    done = shell(home, "trace list --json 2>&-")
    assert (done.returncode, json.loads(done.stdout)["trace_id"]) == (0, "ab" * 16)


def test_the_graph_can_be_drawn_without_a_home() -> None:
    drawn = json.loads(run("recommend", "--print-graph", "--json").stdout)["mermaid"]
    for node in ("load_user", "fuse_items", "summarize_preferences", "score_targets", "explain"):
        assert node in drawn
    # As Mermaid reads it, also where a person sees it.
    assert run("recommend", "--print-graph").stdout.split() == drawn.split()


def test_doctor_says_what_it_looked_at(tmp_path: Path) -> None:
    done = run("doctor", "--json", "--home", str(tmp_path / "none"))
    findings = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert {"Python", "torch", "vLLM", "model", "terminal", "home"} <= set(findings)
    wrong = [each for each in findings.values() if each["state"] == "wrong"]
    assert done.returncode == (1 if wrong else 0)
    assert "srec ingest" in findings["home"]["text"]


def test_a_terminal_that_is_not_utf8_gets_escapes_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    running = start(["doctor", "--home", tmp_path / "none"])
    out, errors = running.communicate(timeout=120)
    assert (running.returncode, errors) == (0, "")
    assert r"\u25cf" in out
