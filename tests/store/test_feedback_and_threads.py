from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mllm_srec.store.errors import StoreError
from mllm_srec.store.feedback import FeedbackStore, Stance
from mllm_srec.store.threads import ThreadStore


@pytest.fixture
def feedback(database: str) -> Iterator[FeedbackStore]:
    store = FeedbackStore.open(database)
    yield store
    store.close()


@pytest.fixture
def threads(database: str) -> Iterator[ThreadStore]:
    store = ThreadStore.open(database)
    yield store
    store.close()


STANCES: list[Stance] = ["more", "less", "never"]


@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(["mia", "ben"]),
            st.sampled_from(STANCES),
            st.sampled_from(["red", "blue", "cotton"]),
        ),
        max_size=12,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_each_value_the_last_word_counts(
    feedback: FeedbackStore, said: list[tuple[str, Stance, str]]
) -> None:
    for user in ("mia", "ben"):
        feedback.delete_user(user)
    last: dict[str, dict[str, Stance]] = {"mia": {}, "ben": {}}
    for user, stance, value in said:
        feedback.add(user, stance, "value", value, origin="test", timestamp=1)
        last[user][value] = stance
    for user, wishes in last.items():
        assert {each.subject: each.stance for each in feedback.of(user)} == wishes


def test_a_wish_under_a_known_key_is_kept_once(feedback: FeedbackStore) -> None:
    first, second = (
        feedback.add("mia", "more", "value", "red", origin="test", timestamp=1, key="k")
        for _ in range(2)
    )
    assert first == second
    assert feedback.remove(first.feedback_id) == first
    assert feedback.remove(first.feedback_id) is None


def test_turns_are_numbered_and_unfinished_until_they_have_a_result(threads: ThreadStore) -> None:
    threads.start("t", "mia", now=5)
    assert threads.accept("t", {"text": "a"}) == 1
    assert threads.accept("t", {"text": "b"}, key="k") == 2
    threads.finish("t", 1, {"answer": "x"})
    unfinished = threads.unfinished("t")
    assert unfinished is not None
    assert unfinished.turn == 2
    threads.finish("t", 2, {"answer": "y"})
    assert threads.unfinished("t") is None
    kept = threads.turn_of("t", "k")
    assert kept is not None
    assert kept.result == {"answer": "y"}
    [thread] = threads.of("mia")
    assert (thread.started, thread.turns, thread.first) == (5, 2, "a")


def test_a_thread_stays_with_its_user(threads: ThreadStore) -> None:
    threads.start("t", "mia", now=5)
    assert threads.start("t", "mia", now=9).started == 5
    with pytest.raises(StoreError, match="another user's"):
        threads.start("t", "ben", now=6)


def test_a_deleted_thread_takes_its_turns_along(threads: ThreadStore) -> None:
    threads.start("t", "mia", now=5)
    threads.accept("t", {"text": "a"})
    assert threads.delete("t")
    assert not threads.delete("t")
    assert threads.turns("t") == []
