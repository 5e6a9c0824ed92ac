"""What a command writes, and where: results on standard output, everything else on standard error.

With `--json`, whatever a library prints on standard output, from C or from a child process, goes to
standard error, so that a reader of our output finds JSON and nothing else.
"""

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mllm_srec.agent.results import Progress
from mllm_srec.agent.terminal.paths import with_tilde

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console, RenderableType

STAGES = {
    "items": "reading items",
    "interactions": "reading interactions",
    "pictures": "checking pictures",
    "writing": "writing rows",
    "done": "items taken in",
    "fuse": "fusing items",
    "vectors": "making vectors",
    "rank": "ranking for users",
    "score": "scoring pairs",
    "explain": "giving reasons to users",
    "understand": "understanding messages",
    "messages": "drawing what users say",
    "records": "making records",
    "describe": "describing items",
    "chains": "asking for chains",
    "tastes": "asking for tastes",
    "check": "checking records",
    "parity": "asking both engines",
    "drawing": "drawing pictures",
    "picking": "drawing users and what they pick",
}
"""What a stage of `Progress` is called on the screen."""
UNITS = {
    "interactions": "interactions",
    "pictures": "pictures",
    "writing": "rows",
    "rank": "users",
    "score": "pairs",
    "explain": "users",
    "understand": "messages",
    "messages": "groups of messages",
    "records": "records",
    "chains": "chains",
    "tastes": "steps",
    "check": "records",
    "parity": "engines",
    "drawing": "pictures",
    "picking": "users",
}
"""What a stage counts, where that is not items."""
PLAIN_S = 5.0
"""Seconds between two lines of progress where nobody watches."""


class OutputError(Exception):
    """Standard output cannot be written."""


class _StandardOutput(io.FileIO):
    """A descriptor whose failures are told from those of all other files."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write bytes; the number written.

        Raises:
            OutputError: The disk is full, or the descriptor takes nothing.
            BrokenPipeError: Whoever read has enough.
        """
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def standard_output(descriptor: int) -> io.TextIOWrapper:
    """A descriptor as a stream of text that raises `OutputError`; closing it leaves it open.

    What the encoding cannot say is written as an escape.
    """
    return io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput(descriptor, "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=os.isatty(descriptor),
    )


class Output:
    """The two streams of one command."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._json_stream = sys.stdout
        self._saved: int | None = None

    def __enter__(self) -> Self:
        if self.as_json:
            sys.stdout.flush()
            self._saved = os.dup(1)
            os.dup2(2, 1)
            self._json_stream = standard_output(self._saved)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._saved is not None:
            sys.stdout.flush()
            try:
                self._json_stream.close()
            finally:
                os.dup2(self._saved, 1)
                os.close(self._saved)

    def result(self, data: object, view: Callable[["Console"], "RenderableType"]) -> None:
        """Write a result: JSON, or what `view` makes of it for a console."""
        if self.as_json:
            self._json_stream.write(dumps(data) + "\n")
            self._json_stream.flush()
        else:
            self.show(view)

    def lines(self, data: Iterable[object], view: Callable[["Console"], "RenderableType"]) -> None:
        """Write results: JSON lines, or one view of them all."""
        if self.as_json:
            self._json_stream.writelines(dumps(each) + "\n" for each in data)
            self._json_stream.flush()
        else:
            self.show(view)

    def show(self, view: Callable[["Console"], "RenderableType"]) -> None:
        """Show something to a person, a plain text as it stands; nothing with `--json`."""
        if not self.as_json:
            # Late: a command that writes JSON does without rich.
            from mllm_srec.agent.untrusted import words  # noqa: PLC0415

            console = self.console()
            shown = view(console)
            if isinstance(shown, str):
                shown = words(with_tilde(shown), lines=True)
            # Views keep to the width themselves; a command to copy is longer on purpose.
            console.print(shown, crop=False)

    def console(self) -> "Console":
        """Standard output as rich sees it."""
        return _console(stderr=False)

    def note(self, line: str) -> None:
        """Say a line beside the result."""
        sys.stderr.write(f"{line if self.as_json else with_tilde(line)}\n")
        sys.stderr.flush()

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show how far long work has come: a bar when a person watches, plain lines otherwise."""
        if not sys.stderr.isatty():
            yield PlainProgress(self.note)
            return
        # Late: a command without long work should not wait for it.
        from mllm_srec.agent.terminal.progress import bars  # noqa: PLC0415

        with bars(_console(stderr=True)) as show:
            yield show


class PlainProgress:
    """Progress as lines in a log: the start and the end of a stage, and now and then between."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._stage = ""
        self._started = self._said = 0.0
        self._first = 0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Say where the stage stands, if it is time to."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._started, self._first = stage, now, done
        elif now - self._said < PLAIN_S and done != total:
            return
        self._said = now
        self._say(self._line(done, total, now - self._started))

    def _line(self, done: int, total: int | None, seconds: float) -> str:
        line = f"{stage_name(self._stage)}: {done:,}"
        line += f" of {total:,}" if total else ""
        if made := done - self._first:
            rate = made / max(seconds, 1e-9)
            line += f", {speed(self._stage, rate)}"
            line += f", {(total - done) / rate:,.0f} s left" if total and total > done else ""
        return line


def stage_name(stage: str) -> str:
    """What a stage is called; what follows its first word tells it from others of its kind."""
    kind, _, rest = stage.partition(" ")
    return f"{STAGES.get(kind, kind)} {rest}".rstrip()


def speed(stage: str, rate: float) -> str:
    """How fast a stage goes: `12 items/s`."""
    number = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    return f"{number} {UNITS.get(stage.partition(' ')[0], 'items')}/s"


def dumps(value: object) -> str:
    """Strict JSON in one line; infinite numbers become null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _console(*, stderr: bool) -> "Console":
    # Late: a command that writes JSON does without rich.
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=stderr, highlight=False)
