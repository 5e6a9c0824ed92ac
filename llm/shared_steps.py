"""One engine, many threads: whoever waits for an answer lets the engine compute for all."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mllm_srec.llm.engine import EngineLost
from mllm_srec.llm.stopping import governing


@dataclass(eq=False, slots=True)
class Call:
    """The requests of one caller."""

    requests: dict[str, tuple[Any, Any]]
    """Prompt and parameters of each, by name."""
    piecewise: bool
    """Whether every output is news, or the end of the last request alone."""
    open: set[str]
    """Requests that have not ended."""
    outputs: list[Any] = field(default_factory=list)
    """What the engine gave and nobody has taken yet, in this order."""
    failed: Exception | None = None
    """Why there will be no more outputs."""
    waits: bool = False
    """Whether its thread is in `wait`, so that it can lead."""
    changed: threading.Event = field(default_factory=threading.Event)

    @property
    def has_news(self) -> bool:
        """Whether the caller has something to do."""
        return bool(self.failed or not self.open or (self.piecewise and self.outputs))


class SharedSteps:
    """Lets an engine compute for all who wait.

    One of the waiting threads leads: it hands the engine what has arrived and lets it compute token
    after token, until its own call has news; then another leads. The others sleep, and each is
    woken by its own news. So a call joins what runs between two tokens, and returns when its own
    last answer is whole, whoever else is asking.
    """

    def __init__(
        self,
        add: Callable[[str, Any, Any], object],
        step: Callable[[], Sequence[Any]],
        abort: Callable[[list[str]], object],
    ) -> None:
        """Take an engine that one thread at a time may use.

        Args:
            add: Queues a request: name, prompt, parameters. Raises `ModelError` to refuse it.
            step: Computes one token of all that run, and gives outputs with `request_id` and
                `finished`.
            abort: Forgets requests, also those that it does not know.
        """
        self._add, self._step, self._abort = add, step, abort
        self._leading = threading.Lock()
        # Of what follows, and of the calls; never held while the engine computes. A thread may take
        # it twice: the garbage collector ends a stream wherever it likes.
        self._guard = threading.RLock()
        self._arrived: list[Call] = []
        self._left: list[str] = []
        self._calls: dict[str, Call] = {}
        self._count = 0
        self._over: Exception | None = None

    @contextmanager
    def calling(
        self, requests: Sequence[tuple[Any, Any]], *, piecewise: bool = False
    ) -> Iterator[Call]:
        """Queue requests; what has not ended by the end of the block is aborted."""
        with self._guard:
            named = {str(self._count + number): each for number, each in enumerate(requests)}
            self._count += len(requests)
            call = Call(named, piecewise, set(named), failed=self._over)
            self._arrived.append(call)
            self._calls |= dict.fromkeys(named, call)
        try:
            yield call
        finally:
            with self._guard:
                for name in named:
                    del self._calls[name]
                if call in self._arrived:
                    self._arrived.remove(call)
                else:
                    self._left.extend(call.open)

    def wait(self, call: Call) -> list[Any]:
        """Sleep until a call has news, or lead.

        Returns:
            The outputs since the last time.

        Raises:
            ModelError: The engine refuses one of its requests, or is lost.
            Stopped: Nobody waits for the call any more.
        """
        stop = governing()
        call.waits = True
        try:
            with stop.calling(call.changed.set):
                while not call.has_news:
                    stop.check()
                    if self._leading.acquire(blocking=False):
                        try:
                            while not call.has_news:
                                stop.check()
                                self._compute()
                        finally:
                            self._leading.release()
                    else:
                        call.changed.wait()
                        call.changed.clear()
        finally:
            call.waits = False
            # It led, or was woken to lead.
            self._wake_a_leader()
        if call.failed:
            raise call.failed
        with self._guard:
            outputs, call.outputs = call.outputs, []
        return outputs

    def close(self, error: Exception) -> None:
        """Fail all calls, also those to come, and wait until the engine does not compute."""
        with self._guard:
            self._over = error
            self._arrived.clear()
            self._fail(error)
        with self._leading:
            pass

    def _compute(self) -> None:
        with self._guard:
            arrived, self._arrived = self._arrived, []
            left, self._left = self._left, []
        try:
            if left:
                self._abort(left)
            for call in arrived:
                self._take_in(call)
            outputs = self._step()
        except BaseException as error:
            # What the engine had under way may never come.
            self._fail(EngineLost(f"the engine broke off: {error!r}"))
            raise
        with self._guard:
            for output in outputs:
                if (asking := self._calls.get(output.request_id)) is None:
                    continue
                asking.outputs.append(output)
                if output.finished:
                    asking.open.discard(output.request_id)
                if asking.has_news:
                    asking.changed.set()

    def _take_in(self, call: Call) -> None:
        try:
            for name, (prompt, parameters) in call.requests.items():
                self._add(name, prompt, parameters)
        except Exception as error:  # noqa: BLE001 - this caller's, whatever it is
            call.failed = error
            call.changed.set()

    def _fail(self, error: Exception) -> None:
        """End the calls that the engine has."""
        with self._guard:
            for call in list(self._calls.values()):
                if call.open and call not in self._arrived:
                    call.failed = call.failed or error
                    call.changed.set()

    def _wake_a_leader(self) -> None:
        if self._leading.locked():
            return
        with self._guard:
            calls = list(self._calls.values())
            waiting = next((each for each in calls if each.waits and not each.has_news), None)
        if waiting is not None:
            waiting.changed.set()
