"""The lock under which several threads share one engine."""

import threading
import time

import pytest

from mllm_srec.llm.turns import Turns


def test_who_asks_first_has_it_first_though_the_owner_wants_it_again() -> None:
    turns, order = Turns(), list[str]()
    waiting = threading.Event()

    def other() -> None:
        waiting.set()
        with turns:
            order.append("other")

    with turns:
        thread = threading.Thread(target=other)
        thread.start()
        assert waiting.wait(60)
        while turns._tickets < 2:
            time.sleep(0.001)
        order.append("owner")
    with turns:
        order.append("owner again")
    thread.join(60)
    assert order == ["owner", "other", "owner again"]


def test_the_owner_may_take_it_again_and_only_the_last_leaving_gives_it_up() -> None:
    turns, reached = Turns(), threading.Event()

    def other() -> None:
        with turns:
            reached.set()

    with turns:
        with turns:
            threading.Thread(target=other).start()
        assert not reached.wait(0.05)
    assert reached.wait(60)


def test_an_error_gives_the_turn_to_the_next() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="x"), turns:
        raise ValueError("x")
    with turns:
        pass


def test_no_two_threads_have_it_together() -> None:
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turns:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (inside, most) == (0, 1)
