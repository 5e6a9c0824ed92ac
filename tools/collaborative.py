"""Collaborative models in closed form: what others did, with recent items counting more.

Three item-to-item matrices are fitted on likes: item-kNN (cosine), EASE (Steck 2019) and directed
transitions. A history, weighted by recency, times a matrix is a score for every item. Nothing here
knows the text or the picture of an item, nor any model.

Only likes are fitted: interactions rated at or above the threshold, and those without a rating. Low
ratings are left out of the fit, and out of histories by `likes`: in the histories of the films,
weak likes (.3) ranked no better on validation (NDCG@10 .119 both), dislikes (-.3) worse (.106
against .112, low ratings counted in the ages of both).
"""

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from mllm_srec.store.files import write_private
from mllm_srec.tools.item_links import cosine, ease, sparse_matrix, strongest, transitions
from mllm_srec.tools.likes import liked_rows

Part = Literal["neighbours", "ease", "transitions"]

FIT_VERSION = 1
"""Raise it when `CollaborativeModel.fit` makes other matrices of a log: kept ones are then left."""

LONGEST_HISTORY = 1_000
"""Latest likes of a user that are fitted; pairs of items grow with the square of it."""


@dataclass(frozen=True)
class CollaborativeSettings:
    """How the models are fitted and blended.

    Defaults are fair on films and Beauty; `srec finetune combine` tunes recency and blend to a
    home's validation part.
    """

    recency: float = 0.7
    """A history item counts `recency ** age`, age in items from the end of the history."""
    ridge: float = 250.0
    """Lambda of EASE."""
    transition_decay: float = 0.7
    """A pair of likes, d items apart, counts `transition_decay ** (d - 1)` as a transition."""
    transition_reach: int = 10
    """Farthest pair of likes that counts as a transition, in items."""
    links: int = 1_000
    """Strongest links kept per item and matrix: on Beauty 500 rank no worse than all 12,101, and
    up to this size of catalogue nothing is lost."""
    ease_items: int = 20_000
    """EASE inverts a dense float32 matrix (1.6 GB at this size, twice that while it runs); a larger
    catalogue gets item-kNN in its place, see `CollaborativeModel.blend`."""
    neighbours_weight: float = 0.5
    ease_weight: float = 1.0
    transitions_weight: float = 0.5
    popularity_weight: float = 0.01
    """Small: popularity orders what the other parts leave equal, and everything for a cold user."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be fitted."""
        if not 0 < self.recency <= 1 or not 0 < self.transition_decay <= 1:
            raise ValueError(f"recency and transition_decay must lie in (0, 1], got {self!r}")
        if self.ridge <= 0 or self.links < 1 or self.transition_reach < 1:
            raise ValueError(f"ridge, links and transition_reach must be positive, got {self!r}")


class CollaborativeModel:
    """Item-to-item matrices fitted on likes, and the popularity of the items."""

    def __init__(
        self,
        item_ids: Sequence[str],
        popularity: NDArray[np.float64],
        exposure: NDArray[np.float64],
        links: Mapping[Part, sparse.csr_matrix],
        settings: CollaborativeSettings,
    ) -> None:
        self.item_ids = tuple(item_ids)
        self.popularity = popularity
        """Likes of each item in the fit (N,)."""
        self.exposure = exposure
        """How long the log has known each item, as a share of its own time (N,): 0 for an item
        that it does not name, 1 for all where it has no times."""
        self.links = dict(links)
        """Sparse float32 matrices (N, N), from the item of a history to the item it speaks for."""
        self.settings = settings
        self.rows = {item_id: row for row, item_id in enumerate(self.item_ids)}
        """Place of each item in `item_ids`, and in every score array."""

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        item_ids: Sequence[str],
        *,
        min_rating: float | None = None,
        settings: CollaborativeSettings | None = None,
    ) -> Self:
        """Fit all parts on the likes of a log.

        Args:
            frame: Columns `user_id`, `item_id`, `position`, and `rating` and `timestamp` where
                there are ratings and times.
            item_ids: The catalogue, which gives the order of all scores; items that the log does
                not name score 0, interactions with items outside it are ignored.
            min_rating: Lowest rating that is a like; None takes every interaction as one.
            settings: Defaults where None.
        """
        chosen = settings or CollaborativeSettings()
        users, items = _like_pairs(frame, item_ids, min_rating)
        likes = sparse_matrix(
            users, items, np.ones(len(items)), (int(users.max(initial=-1)) + 1, len(item_ids))
        )
        likes.data[:] = 1.0  # An item liked twice is one like.
        counts = np.asarray(likes.sum(axis=0), np.float64).ravel()
        together = (likes.T @ likes).tocsr()
        links: dict[Part, sparse.csr_matrix] = {
            "neighbours": strongest(cosine(together, counts), chosen.links),
            "transitions": strongest(
                transitions(
                    users,
                    items,
                    len(item_ids),
                    reach=chosen.transition_reach,
                    decay=chosen.transition_decay,
                ),
                chosen.links,
            ),
        }
        if len(item_ids) <= chosen.ease_items:
            links["ease"] = ease(together, ridge=chosen.ridge, links=chosen.links)
        return cls(item_ids, counts, _exposure(frame, item_ids), links, chosen)

    @property
    def blend(self) -> dict[Part, float]:
        """The parts of `scores` with their weights; item-kNN stands in where EASE was too large."""
        chosen = self.settings
        weights: dict[Part, float] = {
            "neighbours": chosen.neighbours_weight,
            "ease": chosen.ease_weight,
            "transitions": chosen.transitions_weight,
        }
        if "ease" not in self.links:
            weights["neighbours"] += weights.pop("ease")
        return {part: weight for part, weight in weights.items() if weight}

    def tuned(self, settings: CollaborativeSettings) -> Self:
        """The same matrices, weighed and blended otherwise; nothing is fitted again."""
        return type(self)(self.item_ids, self.popularity, self.exposure, self.links, settings)

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Score every item for one history of item ids (N,); see `scores_many`."""
        row: NDArray[np.float32] = self.scores_many([history])[0]
        return row

    def scores_many(self, histories: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score every item for each history (U, N): what follows, popularity breaking ties.

        A history is the ids of the liked items, oldest first; see `likes`.
        An empty history gives the order of popularity. Items of the history are scored like any
        other: leaving them out is the caller's choice.
        """
        shares = self.popularity / max(self.popularity.max(initial=0.0), 1.0)
        popular = (self.settings.popularity_weight * shares).astype(np.float32)
        scores: NDArray[np.float32] = self.following(histories) + popular
        return scores

    def following(self, histories: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score every item by what others liked with and after each history (U, N).

        Each part of the blend is divided by the user's highest value, so that the weights mean the
        same for short and long histories. 0 where nothing is known.
        """
        total = np.zeros((len(histories), len(self.item_ids)), np.float32)
        for part, weight in self.blend.items():
            total += np.float32(weight) * shares_of_best(self.part_scores(part, histories))
        return total

    def part_scores(self, part: Part, histories: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score every item for each history by one part alone (U, N).

        Raises:
            ValueError: The part was not fitted.
        """
        if part not in self.links:
            raise ValueError(
                f"{part!r} was not fitted for {len(self.item_ids)} items: raise "
                f"ease_items (now {self.settings.ease_items}) or use {sorted(self.links)}"
            )
        scores: NDArray[np.float32] = (self._weighted(histories) @ self.links[part]).toarray()
        return scores

    def likes_of(self, item_id: str) -> int:
        """Likes of an item in the fit; 0 for one that it does not know."""
        row = self.rows.get(item_id)
        return 0 if row is None else int(self.popularity[row])

    @cached_property
    def log_popularity(self) -> NDArray[np.float64]:
        """Log share of each item in the likes of now (N,): likes for the time that it was there.

        What came late had less time to be liked. Every item is given one like more, and the time
        that a like takes on average: one that the log does not name is of average popularity.
        """
        time_of_a_like = self.exposure.sum() / max(self.popularity.sum(), 1.0)
        rates = (self.popularity + 1.0) / (self.exposure + time_of_a_like)
        shares: NDArray[np.float64] = np.log(rates / rates.sum())
        return shares

    def save(self, path: Path) -> None:
        """Write the model to an `.npz` file, whole or not at all, without pickle.

        Raises:
            StoreError: The disk is full.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "settings": np.array(json.dumps(asdict(self.settings))),
            "item_ids": np.array(self.item_ids, dtype=np.str_),
            "popularity": self.popularity,
            "exposure": self.exposure,
        }
        for part, matrix in self.links.items():
            for name in ("data", "indices", "indptr"):
                arrays[f"{part}.{name}"] = getattr(matrix, name)
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        write_private(path, file.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: The file is damaged, or not one of ours.
            OSError: It is missing, or cannot be read.
        """
        try:
            with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                item_ids = [str(item_id) for item_id in file["item_ids"]]
                shape = (len(item_ids), len(item_ids))
                links: dict[Part, sparse.csr_matrix] = {}
                parts: tuple[Part, ...] = ("neighbours", "ease", "transitions")
                for part in parts:
                    if f"{part}.data" in file:
                        fields = (file[f"{part}.{name}"] for name in ("data", "indices", "indptr"))
                        links[part] = sparse.csr_matrix(tuple(fields), shape=shape)
                settings = CollaborativeSettings(**json.loads(str(file["settings"])))
                return cls(item_ids, file["popularity"], file["exposure"], links, settings)
        except (ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{str(path)!r} is not a collaborative model ({error}): fit it again"
            ) from error

    def _weighted(self, histories: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """Histories as a matrix (U, N) of recency; unknown items age the others."""
        users, rows, weights = [], [], []
        for user, history in enumerate(histories):
            for age, item_id in enumerate(reversed(history)):
                if (row := self.rows.get(item_id)) is not None:
                    users.append(user)
                    rows.append(row)
                    weights.append(self.settings.recency**age)
        shape = (len(histories), len(self.item_ids))
        return sparse_matrix(np.array(users, np.int64), np.array(rows, np.int64), weights, shape)


def shares_of_best(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores (U, N) divided by each user's highest; unchanged where none is above 0."""
    highest = scores.max(axis=1, keepdims=True, initial=0.0)
    return np.asarray(scores / np.where(highest > 0, highest, np.float32(1.0)), np.float32)


def _exposure(frame: pl.DataFrame, item_ids: Sequence[str]) -> NDArray[np.float64]:
    """How long a log has known each item, as a share of its own time (N,)."""
    everything = np.ones(len(item_ids))
    if "timestamp" not in frame.columns or frame["timestamp"].null_count():
        return everything
    catalogue = pl.DataFrame({"item_id": list(item_ids)}, schema={"item_id": pl.String})
    since = (
        frame.group_by(pl.col("item_id").cast(pl.String))
        .agg(pl.col("timestamp").min().cast(pl.Float64))
        .join(catalogue, on="item_id", how="right", maintain_order="right")["timestamp"]
        .to_numpy()
    )
    if np.isnan(since).all():
        return everything
    age = np.nan_to_num(frame["timestamp"].to_numpy().max() - since, nan=0.0)
    return np.asarray(age / age.max()) if age.any() else everything


def _like_pairs(
    frame: pl.DataFrame, item_ids: Sequence[str], min_rating: float | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and items of the likes as running numbers, sorted by user and time."""
    catalogue = pl.DataFrame(
        {"item_id": list(item_ids), "row": range(len(item_ids))},
        schema={"item_id": pl.String, "row": pl.Int64},
    )
    known = (
        liked_rows(frame, min_rating)
        .select("user_id", pl.col("item_id").cast(pl.String), "position")
        .join(catalogue, on="item_id", how="inner")
        .sort("user_id", "position", maintain_order=True)
        .group_by("user_id", maintain_order=True)
        .tail(LONGEST_HISTORY)
        .with_columns(user=pl.col("user_id").rle_id().cast(pl.Int64))
    )
    return known["user"].to_numpy(), known["row"].to_numpy()
