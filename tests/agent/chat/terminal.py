"""A chat in a process of its own: at a pseudo-terminal, or through a pipe."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).parents[3]
ROWS, COLUMNS = 40, 100
WAIT_S = 240
"""Far above what a turn takes: the machine that runs the tests may be busy."""
CLEAR = "\x0c"
"""Ctrl-L."""
COLOURS = re.compile(r"\x1b\[[\d;]*m")
MOVES = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*[@-~]|[^\[])|[\r\n])+")
"""Line ends, and codes by which a line is left, or is drawn anew."""
SCRIPTED = """
import sys, time
from pathlib import Path
from mllm_srec.agent.chat.session import run_chat
from mllm_srec.agent.terminal.output import Output
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.conversation.talk import answering, opened
from tests.agent.shop import score

home, log, slow = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
reply = answering({"slow": '{"intent":"recommend"}', "a\\\\nb": '{"intent":"help"}'})

def asked(text):
    with log.open("a") as file:
        file.write(text.splitlines()[0] + "\\n")
    if text.startswith(slow) or text.endswith("User: slow"):
        time.sleep(60 if text.startswith(slow) else 8)

def answer(prompt):
    asked(prompt.messages[1].text)
    return reply(prompt)

def scored(prompt, labels):
    asked("score")
    return score(prompt, labels)

model = ScriptedEngine(answer=answer, score=scored)
with Output(as_json="--json" in sys.argv) as out, opened(home, model) as talks:
    run_chat(out, talks, user="ben", thread="t1", pictures=False)
"""
"""The shop of eight items with a scripted engine; it logs what it is asked."""


def scripted(home: Path, *arguments: str, slow: str = "nothing") -> list[str]:
    """The command of a chat on the scripted engine.

    Args:
        home: Of the shop; filled where it is new.
        *arguments: `--json`, or none.
        slow: How a prompt begins that takes seconds; `score` for scoring.
    """
    log = str(home.with_suffix(".log"))
    return [sys.executable, "-c", SCRIPTED, str(home), log, slow, *arguments]


def piped(home: Path, lines: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        scripted(home, *arguments),
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        cwd=ROOT,
    )


class Terminal:
    """A pseudo-terminal of a normal size, and the program in it."""

    def __init__(self, command: Sequence[str], *, rows: int = ROWS, **environment: str) -> None:
        self.screen = pyte.Screen(COLUMNS, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.since = bytearray()
        """What was written since the last keys, as it came."""
        self.child = pexpect.spawn(
            command[0],
            list(command[1:]),
            dimensions=(rows, COLUMNS),
            cwd=str(ROOT),
            # COLUMNS of whoever runs the tests would be believed.
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), **environment},
        )
        # prompt_toolkit asks where the cursor is; a terminal answers.
        self.screen.write_process_input = self.child.send

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def written(self) -> str:
        """All that was written since the last keys, whatever became of it; each line anew."""
        return MOVES.sub("\n", COLOURS.sub("", self.since.decode(errors="ignore")))

    def send(self, keys: str) -> None:
        """Press keys."""
        self.since.clear()
        self.child.send(keys)

    def wait(self, pattern: str) -> str:
        """Read until the pattern stands on the screen."""
        return self._until(pattern, self.text)

    def flashed(self, pattern: str) -> str:
        """Read until the pattern was written after the last keys; all up to its end.

        For what stands there for a moment: one read may bring it and what takes its place.
        """
        shown = self._until(pattern, self.written)
        found = re.search(pattern, shown)
        assert found
        return shown[: found.end()]

    def _until(self, pattern: str, shown: Callable[[], str]) -> str:
        deadline = time.monotonic() + WAIT_S
        while not re.search(pattern, text := shown()):
            if time.monotonic() > deadline or not self._read():
                raise AssertionError(f"{pattern!r} is not to be seen:\n{text}")
        return text

    def _read(self) -> bool:
        """Read what there is; False where the program is gone."""
        try:
            data = self.child.read_nonblocking(4096, timeout=0.2)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.since += data
        self.stream.feed(data)
        return True

    def ready(self) -> str:
        """Read until the prompt waits, after at least one line above it."""
        return self.wait(r"\n>\Z")

    def say(self, line: str) -> str:
        """Type a line onto an empty screen, and return what stands there at the next prompt."""
        self.send(CLEAR)
        self.wait(r"\A>\Z")
        self.send(f"{line}\r")
        return self.ready().removesuffix("\n>")

    def leave(self) -> int | None:
        """Ctrl-D; the exit code."""
        self.send("\x04")
        self.child.expect(pexpect.EOF, timeout=WAIT_S)
        self.since += self.child.before
        self.child.close()
        code: int | None = self.child.exitstatus
        return code

    def kill(self) -> None:
        """`kill -9`, where it still runs."""
        self.child.kill(signal.SIGKILL)
        self.child.wait()
        self.child.close()
