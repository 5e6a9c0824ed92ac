"""What the liked items have in common: a retrieval source that reads the fused descriptions.

Naive Bayes over the values of the descriptions (content-based profiles, Pazzani and Billsus 1997):
a value that the user's likes have more often than the catalogue speaks for an item, one that they
have less often speaks against it. How much depends on what the value is of: a colour may decide
where a price does not, and may be forgotten sooner. `srec finetune combine` fits that.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, NamedTuple, Self

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from mllm_srec.store.records import UNKNOWN, FusedItem, folded

RECENT, LASTING = 0.85, 0.97
"""Two memories: a like counts `RECENT ** age` and `LASTING ** age`, age in likes from the end of
the history."""
PRIOR = 15.0
"""Likes that a user is supposed to have drawn from the catalogue at random, before any."""

NotNegative = Annotated[float, Ge(0), Field(allow_inf_nan=False)]


class Memories(NamedTuple):
    """Something of either memory."""

    recent: NotNegative
    lasting: NotNegative


class FacetWeights(BaseModel):
    """How much a value in common says, by the name of its attribute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    named: Mapping[str, Memories] = Field(default_factory=dict)
    """By name, as the descriptions have it: `"what"`, `"colour"`."""
    others: Memories = Memories(1.0, 0.0)
    """Of the attributes that are not named."""


class Facets(NamedTuple):
    """The values of all items, one entry each, item by item."""

    rows: NDArray[np.int64]
    """Place of the item (E,)."""
    columns: NDArray[np.int64]
    """Place of the value (E,)."""
    names: NDArray[np.int64]
    """Place of the attribute's name (E,)."""


class FacetModel:
    """Which item has which values, how common each value is, and how much it says."""

    def __init__(
        self,
        item_ids: Sequence[str],
        facets: Facets,
        values: Mapping[str, int],
        names: Sequence[str],
        kinds: frozenset[str],
        weights: FacetWeights,
    ) -> None:
        self.item_ids = tuple(item_ids)
        self.names = tuple(names)
        """Of the attributes, the most frequent first."""
        self.kinds = kinds
        """What the items are called: `"stroller"`, `"drama film"`."""
        self.rows = {item_id: row for row, item_id in enumerate(self.item_ids)}
        """Place of each item in `item_ids`, and in every score array."""
        self._facets = facets
        self._columns = values
        self._has = self._matrix(np.ones(len(facets.rows)))
        # The place of the name, from 1: a matrix may drop its zeros.
        self._named = self._matrix(1.0 + facets.names.astype(np.float64))
        # (N,) whether an item has any value; (V,) share of the items that have a value.
        self._told = np.asarray(self._has.sum(axis=1), np.float64).ravel() > 0
        self._common = np.asarray(self._has.sum(axis=0), np.float64).ravel() / max(len(item_ids), 1)
        by_name = np.array(
            [weights.named.get(name, weights.others) for name in self.names], np.float64
        ).reshape(-1, 2)
        self._weighed = [self._matrix(column[facets.names]) for column in by_name.T]

    @classmethod
    def fit(cls, described: Mapping[str, FusedItem]) -> Self:
        """Read the values of described items; the order of the items is that of all scores."""
        values: dict[str, int] = {}
        found = [
            (row, values.setdefault(folded(value), len(values)), name)
            for row, fused in enumerate(described.values())
            for name, value in fused.attributes()
            if value != UNKNOWN
        ]
        counts = Counter(name for _, _, name in found)
        names = sorted(counts, key=lambda name: (-counts[name], name))
        place = {name: at for at, name in enumerate(names)}
        entries = [(row, column, place[name]) for row, column, name in found]
        facets = Facets(*np.array(entries, np.int64).reshape(-1, 3).T)
        kinds = frozenset(fused.what for fused in described.values())
        return cls(list(described), facets, values, names, kinds, FacetWeights())

    def weighed(self, weights: FacetWeights) -> "FacetModel":
        """The same values with other weights."""
        return FacetModel(
            self.item_ids, self._facets, self._columns, self.names, self.kinds, weights
        )

    def scores(
        self, history: Sequence[str], beside: Mapping[str, FusedItem] = MappingProxyType({})
    ) -> NDArray[np.float64]:
        """Weighed log odds (N,) of every item among the user's likes against the catalogue.

        0 for an item without values, and for all where nothing is known of the history.

        Args:
            history: Ids of the liked items, in time order.
            beside: Descriptions of those that the catalogue does not have.
        """
        odds = self._log_odds(history, beside)
        parts = [has @ each for has, each in zip(self._weighed, odds, strict=True)]
        return np.asarray(np.sum(parts, axis=0), np.float64)

    def evidence(
        self, history: Sequence[str], rows: NDArray[np.int64], names: int
    ) -> NDArray[np.float64]:
        """What each attribute says of some items, not weighed (R, 2 * (names + 1)).

        Args:
            history: Ids of the liked items, in time order.
            rows: The places of the items (R,).
            names: So many of the most frequent attributes apart; the others are put together.

        Returns:
            For the recent memory the named ones in the order of `names` and the others, then the
            same for the lasting one.
        """
        named = self._named[rows]
        row = np.repeat(np.arange(len(rows)), np.diff(named.indptr))
        places = row * (names + 1) + np.minimum(named.data.astype(np.int64) - 1, names)
        shape = (len(rows), names + 1)
        parts = [
            np.bincount(places, odds[named.indices], shape[0] * shape[1]).reshape(shape)
            for odds in self._log_odds(history, {})
        ]
        return np.concatenate(parts, axis=1)

    def _matrix(self, data: NDArray[np.float64]) -> sparse.csr_array:
        """A number for each value of each item (N, V)."""
        shape = (len(self.item_ids), len(self._columns))
        return sparse.csr_array((data, (self._facets.rows, self._facets.columns)), shape)

    def _log_odds(
        self, history: Sequence[str], beside: Mapping[str, FusedItem]
    ) -> list[NDArray[np.float64]]:
        """Log odds (V,) of every value among the likes against the catalogue, by memory."""
        known = [one for one in history if one in self.rows or one in beside]
        strange = np.array([one not in self.rows for one in known], bool)
        rows = np.array([self.rows[one] for one in known if one in self.rows], np.int64)
        elsewhere = [self._values_of(beside[known[at]]) for at in np.flatnonzero(strange)]
        told = np.ones(len(known))
        told[~strange] = self._told[rows]
        told[strange] = [len(columns) > 0 for columns in elsewhere]
        found = []
        for memory in (RECENT, LASTING):
            weights = told * memory ** np.arange(len(known))[::-1]
            counts = weights[~strange] @ self._has[rows]
            for weight, columns in zip(weights[strange], elsewhere, strict=True):
                counts[columns] += weight
            share = (counts + PRIOR * self._common) / (weights.sum() + PRIOR)
            found.append(np.log(share / self._common))
        return found

    def _values_of(self, fused: FusedItem) -> list[int]:
        values = map(folded, fused.facets())
        return [self._columns[value] for value in values if value in self._columns]
