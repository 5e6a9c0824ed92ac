"""The collaborative model of a home: of this log and this fit, whatever file lies there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mllm_srec.agent.collaborative_cache import kept_model
from mllm_srec.store.home import Home
from mllm_srec.store.records import Interaction
from mllm_srec.tools.collaborative import FIT_VERSION, CollaborativeModel

from .shop import fill


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home", create=True) as opened:
        fill(opened)
        yield opened


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The lowest liked rating of every fit."""
    made: list[float | None] = []
    fit = CollaborativeModel.fit

    def counted(*args: Any, min_rating: float | None = None, **options: Any) -> CollaborativeModel:
        made.append(min_rating)
        return fit(*args, min_rating=min_rating, **options)

    monkeypatch.setattr(CollaborativeModel, "fit", counted)
    return made


def kept(home: Home) -> list[Path]:
    return list((home.path / "collaborative").iterdir())


def test_the_same_log_is_fitted_once(home: Home, fits: list[float | None]) -> None:
    first, again = kept_model(home, 4.0), kept_model(home, 4.0)
    assert fits == [4.0]
    assert again.popularity.tolist() == first.popularity.tolist()


def test_a_changed_log_is_fitted_again_and_one_file_stays(
    home: Home, fits: list[float | None]
) -> None:
    kept_model(home, 4.0)
    [old] = kept(home)
    home.catalogue.put_interactions([Interaction(user_id="eve", item_id="i8", position=0)])
    assert kept_model(home, 4.0).popularity[-1] == 1
    assert len(fits) == 2
    assert kept(home) != [old]
    assert len(kept(home)) == 1


def test_what_another_version_fitted_is_fitted_again(
    home: Home, fits: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_model(home, 4.0)
    monkeypatch.setattr("mllm_srec.agent.collaborative_cache.FIT_VERSION", FIT_VERSION + 1)
    kept_model(home, 4.0)
    assert len(fits) == 2
    assert len(kept(home)) == 1


def test_what_counts_as_a_like_decides_which_model_is_meant(home: Home) -> None:
    liked = kept_model(home, 4.0).popularity
    all_liked = kept_model(home, 1.0).popularity
    # Mia rated i4 with 1.
    assert (all_liked - liked).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut off", b"something else"])
def test_a_damaged_file_is_fitted_again(
    home: Home, fits: list[float | None], content: bytes
) -> None:
    whole = kept_model(home, 4.0)
    [path] = kept(home)
    path.write_bytes(content)
    assert kept_model(home, 4.0).popularity.tolist() == whole.popularity.tolist()
    assert len(fits) == 2
    kept_model(home, 4.0)
    assert len(fits) == 2


def test_a_file_that_another_process_deletes_meanwhile_is_fitted_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_model(home, 4.0)
    load = CollaborativeModel.load

    def late(path: Path) -> CollaborativeModel:
        path.unlink()
        return load(path)

    monkeypatch.setattr(CollaborativeModel, "load", late)
    assert kept_model(home, 4.0).popularity.any()
