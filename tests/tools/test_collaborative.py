from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllm_srec.tools.collaborative import (
    CollaborativeModel,
    CollaborativeSettings,
)

ITEMS = ["a", "b", "c", "d", "e"]


def log(*users: str, ratings: list[float] | None = None) -> pl.DataFrame:
    """A log in which each letter of a user is an item, in time order."""
    rows = [
        {"user_id": f"u{user}", "item_id": item, "position": position}
        for user, items in enumerate(users)
        for position, item in enumerate(items)
    ]
    frame = pl.DataFrame(
        rows, schema={"user_id": pl.String, "item_id": pl.String, "position": pl.Int64}
    )
    return frame if ratings is None else frame.with_columns(rating=pl.Series(ratings))


def test_item_knn_is_the_cosine_of_two_items_users() -> None:
    model = CollaborativeModel.fit(log("ab", "ab", "ac", "d"), ITEMS)
    scores = model.part_scores("neighbours", [list("a")])[0]
    assert scores == pytest.approx([0.0, 2 / np.sqrt(6), 1 / np.sqrt(3), 0.0, 0.0])


def test_ease_is_steck_s_closed_form() -> None:
    frame = log("abc", "abd", "bce", "ad", "cde")
    model = CollaborativeModel.fit(frame, ITEMS, settings=CollaborativeSettings(ridge=2.0))
    x = np.array(
        [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0, 0, 1, 1, 1]]
    )
    inverse = np.linalg.inv(x.T @ x + 2.0 * np.eye(5))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    assert model.links["ease"].toarray() == pytest.approx(expected, abs=1e-5)


def test_transitions_know_the_direction_and_the_distance() -> None:
    model = CollaborativeModel.fit(log("abc"), ITEMS)
    scores = model.part_scores("transitions", [list("a"), list("c")])
    outgoing = 1 + 0.7
    assert scores[0] == pytest.approx([0, 1 / outgoing**0.5, 0.7 / outgoing**0.5, 0, 0])
    assert not scores[1].any()


def test_transitions_do_not_cross_from_one_user_to_the_next() -> None:
    model = CollaborativeModel.fit(log("ab", "cd"), ITEMS)
    assert model.part_scores("transitions", [list("b")])[0][ITEMS.index("c")] == 0


def test_recent_items_count_more() -> None:
    model = CollaborativeModel.fit(log("ac", "bd"), ITEMS)
    scores = model.part_scores("neighbours", [list("ab")])[0]
    assert scores[ITEMS.index("c")] == pytest.approx(0.7 * scores[ITEMS.index("d")])


def test_low_ratings_are_left_out_of_the_fit() -> None:
    frame = log("ab", "ac", ratings=[5.0, 2.0, 5.0, 4.0])
    model = CollaborativeModel.fit(frame, ITEMS, min_rating=4.0)
    assert model.popularity.tolist() == [2, 0, 1, 0, 0]
    assert CollaborativeModel.fit(frame, ITEMS).popularity.tolist() == [2, 1, 1, 0, 0]


def test_an_item_liked_twice_is_one_like() -> None:
    assert CollaborativeModel.fit(log("aab"), ITEMS).popularity.tolist() == [1, 1, 0, 0, 0]


def test_an_empty_history_gives_the_order_of_popularity() -> None:
    model = CollaborativeModel.fit(log("ab", "b", "bc", "c"), ITEMS)
    order = np.argsort(-model.scores([]), kind="stable")
    assert [ITEMS[row] for row in order[:3]] == ["b", "c", "a"]


def test_items_outside_the_catalogue_are_ignored() -> None:
    model = CollaborativeModel.fit(log("aXb"), ["a", "b"])
    assert model.scores(["X"]).shape == (2,)
    assert model.popularity.tolist() == [1, 1]
    assert [model.likes_of(item_id) for item_id in "abX"] == [1, 1, 0]


def test_a_fit_on_nothing_scores_nothing() -> None:
    model = CollaborativeModel.fit(log(), ITEMS)
    assert not model.scores(list("ab")).any()
    assert model.log_popularity == pytest.approx(np.log(np.full(5, 1 / 5)))


def test_beyond_its_size_ease_gives_way_to_item_knn() -> None:
    small = CollaborativeSettings(ease_items=4)
    model = CollaborativeModel.fit(log("ab", "bc"), ITEMS, settings=small)
    assert model.blend == {"neighbours": 1.5, "transitions": 0.5}
    with pytest.raises(ValueError, match="ease_items"):
        model.part_scores("ease", [list("a")])


def test_only_the_strongest_links_are_kept() -> None:
    one = CollaborativeSettings(links=1)
    model = CollaborativeModel.fit(log("ab", "ab", "ac"), ITEMS, settings=one)
    assert model.links["neighbours"].getrow(0).indices.tolist() == [ITEMS.index("b")]


def test_settings_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(ValueError, match="recency"):
        CollaborativeSettings(recency=0.0)
    with pytest.raises(ValueError, match="ridge"):
        CollaborativeSettings(ridge=-1.0)


def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(ValueError, match="fit it again"):
        CollaborativeModel.load(tmp_path / "other.npz")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.npz"
    CollaborativeModel.fit(log("ab", "ac"), ITEMS).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="fit it again"):
        CollaborativeModel.load(path)


def test_a_file_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    CollaborativeModel.fit(log("ab", "ac"), ITEMS).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"settings.npy") + 60] ^= 0xFF  # inside what is packed
    path.write_bytes(content)
    with pytest.raises(ValueError, match="fit it again"):
        CollaborativeModel.load(path)


def test_what_cannot_be_written_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.npz"
    CollaborativeModel.fit(log("ab", "ac"), ITEMS).save(path)

    def killed(descriptor: int) -> None:
        raise OSError(descriptor, "the disk went away")

    monkeypatch.setattr("os.fsync", killed)
    with pytest.raises(OSError, match="went away"):
        CollaborativeModel.fit(log("bc"), ITEMS).save(path)
    assert CollaborativeModel.load(path).popularity.tolist() == [2, 1, 1, 0, 0]


@settings(max_examples=25)
@given(
    users=st.lists(st.text("abcde", max_size=8), max_size=8),
    asked=st.lists(st.text("abcdeX", max_size=6), min_size=1, max_size=4),
)
def test_a_saved_model_scores_the_same_and_batches_do_as_well(
    users: list[str], asked: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = CollaborativeModel.fit(log(*users), ITEMS)
    path = tmp_path_factory.mktemp("model") / "model.npz"
    model.save(path)
    again = CollaborativeModel.load(path)
    batch = again.scores_many([list(items) for items in asked])
    assert again.settings == model.settings
    assert np.isfinite(batch).all()
    for row, items in enumerate(asked):
        assert batch[row] == pytest.approx(model.scores(list(items)), abs=1e-6)


def timed(frame: pl.DataFrame, *times: int | None) -> pl.DataFrame:
    """A log with a time for each of its rows."""
    return frame.with_columns(timestamp=pl.Series(times, dtype=pl.Int64))


def test_a_like_of_what_came_late_says_more() -> None:
    # Each was liked once; "a" was there all the time, "c" for the last fifth of it.
    frame = timed(log("ab", "cd"), 0, 50, 80, 100)
    model = CollaborativeModel.fit(frame, ["a", "b", "c", "d"])
    assert model.exposure == pytest.approx([1.0, 0.5, 0.2, 0.0])
    popularity = model.log_popularity
    assert (np.diff(popularity) > 0).all()
    assert np.exp(popularity).sum() == pytest.approx(1.0)


def test_what_the_log_does_not_name_is_of_average_popularity() -> None:
    model = CollaborativeModel.fit(timed(log("ab", "b"), 0, 0, 10), ["a", "b", "new"])
    assert model.exposure.tolist() == [1.0, 1.0, 0.0]
    a, b, new = model.log_popularity
    assert a < new < b


@pytest.mark.parametrize("times", [(7, 7, 7), (None, None, None), (1, None, 3)])
def test_without_times_that_tell_popularity_counts_likes(times: tuple[int | None, ...]) -> None:
    frame = timed(log("ab", "b"), *times)
    popularity = CollaborativeModel.fit(frame, ITEMS).log_popularity
    assert popularity == pytest.approx(CollaborativeModel.fit(log("ab", "b"), ITEMS).log_popularity)
    assert popularity == pytest.approx(np.log(np.array([2, 3, 1, 1, 1]) / 8))


def test_how_long_an_item_was_there_is_kept(tmp_path: Path) -> None:
    model = CollaborativeModel.fit(timed(log("ab", "c"), 0, 5, 10), ITEMS)
    model.save(tmp_path / "model.npz")
    kept = CollaborativeModel.load(tmp_path / "model.npz").tuned(CollaborativeSettings(recency=0.5))
    assert kept.exposure.tolist() == model.exposure.tolist()
