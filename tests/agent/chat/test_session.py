"""The chat at a real pseudo-terminal, through a pipe, and after a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

ROOT = Path(__file__).parents[3]
SCREEN = Path(__file__).with_name("chat_screen.txt")
CHAT = """
import sys, time
from pathlib import Path
from mllm_srec.agent.chat.session import run_chat
from mllm_srec.agent.terminal.output import Output
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.conversation.talk import answering, opened, said
from tests.agent.shop import score

reply = answering({"slow": '{"intent":"recommend"}', "a\\\\nb": '{"intent":"help"}'})

def answer(prompt):
    if prompt.messages[1].text.endswith("User: slow"):
        time.sleep(8)
    return reply(prompt)

model = ScriptedEngine(answer=answer, score=score)
as_json = "--json" in sys.argv
with Output(as_json=as_json) as out, opened(Path(sys.argv[1]), model) as talks:
    run_chat(out, talks, user="ben", thread="t1", pictures=False)
"""
TURNS = (
    "two things please",
    "why the first",
    "/why not rattle",
    "others",
    "something green under 30",
    "never blue",
    "undo",
    "find a blue ball",
    "/more 1",
    "/less rubber",
    "compare duck and drum",
    "/compare 1 2",
    "who am i to you",
    "/forget rubber",
    "what did I get",
    "I have the puzzle",
    "undo",
    "why 9",
    "what is the weather",
    "/nonsense",
)
WAIT_S = 200
"""Far above what a turn takes: the machine that runs the tests may be busy."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat") / "home"


def piped(home: Path, lines: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHAT, str(home), *arguments],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        cwd=ROOT,
    )


class Terminal:
    """A pseudo-terminal with a screen high enough that nothing scrolls away."""

    def __init__(self, home: Path) -> None:
        self.screen = pyte.Screen(100, 300)
        self.stream = pyte.ByteStream(self.screen)
        self.child = pexpect.spawn(
            sys.executable,
            ["-c", CHAT, str(home)],
            dimensions=(300, 100),
            cwd=str(ROOT),
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"},
        )
        # prompt_toolkit asks where the cursor is; a terminal answers.
        self.screen.write_process_input = self.child.send

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def wait(self, pattern: str) -> str:
        """Read until the pattern stands on the screen."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if re.search(pattern, self.text()):
                return self.text()
            try:
                self.stream.feed(self.child.read_nonblocking(65_536, timeout=0.2))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
        if re.search(pattern, self.text()):
            return self.text()
        raise AssertionError(f"{pattern!r} is not on the screen:\n{self.text()[-3000:]}")

    def prompts(self) -> int:
        return len(re.findall(r"^> ?", self.text(), re.MULTILINE))

    def say(self, line: str) -> str:
        """Type a line, and wait for the next prompt."""
        before = self.prompts()
        self.child.send(f"{line}\r")
        return self.wait(rf"(?ms)(^>.*){{{before + 1}}}\Z")


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    opened = Terminal(home)
    opened.wait(r"(?m)^>")
    yield opened
    opened.child.close(force=True)


def test_a_conversation_of_twenty_turns_looks_as_it_should(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "home")
    terminal.wait(r"(?m)^>")
    for line in TURNS:
        terminal.say(line)
    terminal.child.send("\x04")
    terminal.child.expect(pexpect.EOF, timeout=WAIT_S)
    terminal.child.close()
    assert terminal.child.exitstatus == 0
    assert terminal.text() + "\n" == SCREEN.read_text("utf-8")


def test_ctrl_c_stops_the_turn_and_keeps_the_chat(terminal: Terminal) -> None:
    terminal.child.send("slow\r")
    shown = terminal.wait(r"understand …")
    assert re.search(r"\d\.\d s", shown)
    terminal.child.send("\x03")
    terminal.wait("stopped")
    assert "/why [not] ITEM" in terminal.say("/help")
    terminal.child.send("\x03")
    terminal.wait("Ctrl-D or /quit leaves")
    terminal.child.send("\x03")
    terminal.child.expect(pexpect.EOF, timeout=WAIT_S)


def test_commands_and_titles_are_completed(terminal: Terminal) -> None:
    terminal.child.send("/prof\t")
    terminal.wait("(?m)^> /profile")
    terminal.child.send("\r")
    terminal.wait("What is known about ben")
    terminal.child.send("/why Fine du\t")
    terminal.wait("(?m)^> /why Fine duck")
    terminal.child.send("\r")
    terminal.wait(r"Fine duck \[i8\]")


def test_lines_from_a_pipe_get_plain_answers(home: Path) -> None:
    done = piped(home, "two things please\n\n/why 1\n/nonsense\n")
    assert done.returncode == 0, done.stderr
    assert "1. Fine" in done.stdout
    assert "/nonsense is no command" in done.stdout
    assert "\x1b" not in done.stdout


def test_binary_from_a_pipe_is_a_message_like_any_other(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHAT, str(home), "--json"],
        input=b"\x89PNG\r\x1a\x00\xff\xfe IHDR\n/less \xff\xfe\ntwo things please\n",
        capture_output=True,
        check=True,
        timeout=WAIT_S,
        cwd=ROOT,
    )
    *_, last = map(json.loads, done.stdout.splitlines())
    assert last["intent"] == "recommend"


def test_a_second_chat_on_the_same_thread_is_refused(terminal: Terminal, home: Path) -> None:
    done = piped(home, "help\n")
    assert done.returncode == 1
    assert "another chat has the thread 't1' open" in done.stderr


def test_json_lines_carry_what_the_contract_names(home: Path) -> None:
    lines = "two things please\n/why 1\n/threads\n/fork\n/why 2\n/nonsense\n"
    done = piped(home, lines, "--json")
    first, second, threads, fork, third, wrong = map(json.loads, done.stdout.splitlines())
    wanted = {"turn", "thread", "intent", "answer", "items", "trace_id", "seconds"}
    assert wanted <= set(first)
    assert (first["intent"], second["intent"]) == ("recommend", "why")
    assert second["turn"] == first["turn"] + 1
    assert threads["command"] == "threads"
    assert fork["command"] == "fork"
    assert (third["turn"], third["thread"] != first["thread"]) == (second["turn"] + 1, True)
    assert [item["item_id"] for item in third["items"]] == [first["items"][1]["item_id"]]
    assert "no command" in wrong["error"]


def test_a_turn_cut_off_by_a_kill_is_finished_by_the_next_chat(tmp_path: Path) -> None:
    home = tmp_path / "home"
    killed = Terminal(home)
    killed.wait(r"(?m)^>")
    killed.say("two things please")
    killed.child.send("slow\r")
    killed.wait(r"understand …")
    killed.child.kill(signal.SIGKILL)
    killed.child.close(force=True)
    done = piped(home, "/why 1\n", "--json")
    resumed, asked = map(json.loads, done.stdout.splitlines())
    assert (resumed["turn"], resumed["said"], resumed["intent"]) == (2, "slow", "recommend")
    assert asked["turn"] == 3
