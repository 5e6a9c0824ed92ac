"""What the liked items have in common: a retrieval source that reads the fused descriptions.

Naive Bayes over the values of the descriptions (content-based profiles, Pazzani and Billsus 1997):
a value that the user's likes have more often than the catalogue speaks for an item, one that they
have less often speaks against it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mllm_srec.store.records import UNKNOWN, FusedItem, folded

RECENCY = 0.85
"""A like counts `RECENCY ** age`, age in likes from the end of the history."""
PRIOR = 15.0
"""Likes that a user is supposed to have drawn from the catalogue at random, before any."""


class FacetModel:
    """Which item has which values, and how common each value is."""

    def __init__(
        self,
        item_ids: Sequence[str],
        has: sparse.csr_array,
        columns: Mapping[str, int],
        kinds: frozenset[str],
    ) -> None:
        self.item_ids = tuple(item_ids)
        self.kinds = kinds
        """What the items are called: `"stroller"`, `"drama film"`."""
        self.rows = {item_id: row for row, item_id in enumerate(self.item_ids)}
        """Place of each item in `item_ids`, and in every score array."""
        self._has = has
        self._columns = columns
        # (N,) whether an item has any value; (V,) share of the items that have a value.
        self._told = np.asarray(has.sum(axis=1), np.float64).ravel() > 0
        self._common = np.asarray(has.sum(axis=0), np.float64).ravel() / max(len(item_ids), 1)

    @classmethod
    def fit(cls, described: Mapping[str, FusedItem]) -> Self:
        """Read the values of described items; the order of the items is that of all scores."""
        values: dict[str, int] = {}
        pairs = [
            (row, values.setdefault(folded(value), len(values)))
            for row, fused in enumerate(described.values())
            for value in fused.facets()
            if value != UNKNOWN
        ]
        rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
        ones = np.ones(len(pairs), np.float32)
        shape = (len(described), len(values))
        kinds = frozenset(fused.what for fused in described.values())
        return cls(list(described), sparse.csr_array((ones, (rows, columns)), shape), values, kinds)

    def scores(
        self, history: Sequence[str], beside: Mapping[str, FusedItem] = MappingProxyType({})
    ) -> NDArray[np.float64]:
        """Log odds (N,) of every item among the user's likes against the catalogue.

        0 for an item without values, and for all where nothing is known of the history.

        Args:
            history: Ids of the liked items, in time order.
            beside: Descriptions of those that the catalogue does not have.
        """
        known = [one for one in history if one in self.rows or one in beside]
        ages = np.arange(len(known))[::-1]
        weights = RECENCY**ages
        strange = np.array([one not in self.rows for one in known], bool)
        rows = np.array([self.rows[one] for one in known if one in self.rows], np.int64)
        weights[~strange] *= self._told[rows]
        counts = weights[~strange] @ self._has[rows]
        for at in np.flatnonzero(strange).tolist():
            values = map(folded, beside[known[at]].facets())
            columns = [self._columns[value] for value in values if value in self._columns]
            counts[columns] += weights[at]
            weights[at] *= bool(columns)
        share = (counts + PRIOR * self._common) / (weights.sum() + PRIOR)
        return np.asarray(self._has @ np.log(share / self._common), np.float64)
