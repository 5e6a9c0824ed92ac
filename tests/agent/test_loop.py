"""The loop of a home when threads, forks and its end meet."""

import asyncio
import os
import signal
import threading
from concurrent.futures import CancelledError
from contextlib import suppress

import pytest

from mllm_srec.agent.loop import LoopThread
from mllm_srec.store.errors import StoreError

PATIENCE_S = 30


async def nothing() -> None:
    await asyncio.sleep(0)


def test_who_calls_while_it_is_closed_gets_an_answer_or_an_error() -> None:
    for _ in range(30):
        loop = LoopThread("shop")
        begun = threading.Event()

        def call(loop: LoopThread = loop, begun: threading.Event = begun) -> None:
            with suppress(StoreError, CancelledError):
                while True:
                    loop.run(nothing())
                    begun.set()

        callers = [threading.Thread(target=call, daemon=True) for _ in range(4)]
        for caller in callers:
            caller.start()
        assert begun.wait(PATIENCE_S)
        loop.close()
        for caller in callers:
            caller.join(PATIENCE_S)
            assert not caller.is_alive()


def test_work_that_was_cancelled_may_end_while_the_loop_is_closed() -> None:
    happened: list[str] = []
    begun = threading.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            happened.append("remembered")

    with LoopThread("shop") as loop:
        future = loop.start(work())
        assert begun.wait(PATIENCE_S)
        future.cancel()
    assert happened == ["remembered"]


def test_work_on_the_loop_that_waits_for_the_loop_fails_instead_of_hanging() -> None:
    with LoopThread("shop") as loop:

        async def work() -> None:
            loop.run(nothing())

        with pytest.raises(RuntimeError, match="on the loop already: await it"):
            loop.start(work()).result(PATIENCE_S)


def test_a_forked_process_is_told_that_the_home_is_not_open_there() -> None:
    with LoopThread("shop") as loop:
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE_S)
            try:
                loop.run(nothing())
            except StoreError as error:
                loop.close()
                os._exit(0 if "open in the process" in str(error) else 2)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        loop.run(nothing())
