"""What the liked items have in common: a retrieval source that reads the fused descriptions.

Naive Bayes over the values of the descriptions (content-based profiles, Pazzani and Billsus 1997):
a value that the user's likes have more often than the catalogue speaks for an item, one that they
have less often speaks against it. How much depends on what the value is of: a colour may decide
where a price does not, and may be forgotten sooner. `srec finetune combine` fits that.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Annotated, NamedTuple, Self

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from mllm_srec.store.records import UNKNOWN, FusedItem, folded

MEMORIES = RECENT, LASTING = 0.85, 0.97
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


class FacetModel:
    """Which item has which values, how common each value is, and how much it says."""

    def __init__(
        self,
        item_ids: Sequence[str],
        has: sparse.csr_array,
        names_at: NDArray[np.int32],
        values: Mapping[str, int],
        names: Sequence[str],
        kinds: frozenset[str],
    ) -> None:
        self.item_ids = tuple(item_ids)
        self.names = tuple(names)
        """Of the attributes, the most frequent first."""
        self.kinds = kinds
        """What the items are called: `"stroller"`, `"drama film"`."""
        self.rows = {item_id: row for row, item_id in enumerate(self.item_ids)}
        """Place of each item in `item_ids`, and in every score array."""
        # (N, V) 1 where an item has a value, E of them; (E,) the name of what each is a value of.
        self._has = has
        self._names_at = names_at
        self._columns = values
        # (N,) whether an item has any value; (V,) share of the items that have a value.
        self._told = np.diff(has.indptr) > 0
        self._common = np.asarray(has.sum(axis=0), np.float64).ravel() / max(len(item_ids), 1)
        self._weighed = self._matrices(FacetWeights())

    @classmethod
    def fit(cls, described: Mapping[str, FusedItem]) -> Self:
        """Read the values of described items; the order of the items is that of all scores."""
        values: dict[str, int] = {}
        found = [
            [(name, value) for name, value in fused.attributes() if value != UNKNOWN]
            for fused in described.values()
        ]
        counts = Counter(name for pairs in found for name, _ in pairs)
        names = sorted(counts, key=lambda name: (-counts[name], name))
        place = {name: at for at, name in enumerate(names)}
        entries = [
            (values.setdefault(folded(value), len(values)), place[name])
            for pairs in found
            for name, value in pairs
        ]
        columns, names_at = np.array(entries, np.int32).reshape(-1, 2).T
        ends = np.cumsum([0, *map(len, found)])
        ones = np.ones(len(entries), np.float32)
        has = sparse.csr_array((ones, columns, ends), (len(found), len(values)))
        kinds = frozenset(fused.what for fused in described.values())
        return cls(list(described), has, names_at, values, names, kinds)

    def weighed(self, weights: FacetWeights) -> Self:
        """The same values with other weights."""
        other = copy(self)
        other._weighed = self._matrices(weights)
        return other

    def scores(
        self, history: Sequence[str], beside: Mapping[str, FusedItem] = MappingProxyType({})
    ) -> NDArray[np.float64]:
        """Weighed log odds (N,) of every item among the user's likes against the catalogue.

        0 for an item without values, and for all where nothing is known of the history.

        Args:
            history: Ids of the liked items, in time order.
            beside: Descriptions of those that the catalogue does not have.
        """
        scores = np.zeros(len(self.item_ids))
        for memory, has in self._weighed:
            scores += has @ self._log_odds(history, beside, memory)
        return scores

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
        starts = self._has.indptr[rows]
        counts = self._has.indptr[rows + 1] - starts
        row = np.repeat(np.arange(len(rows)), counts)
        # The entries of these items, one after the other.
        at = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        places = row * (names + 1) + np.minimum(self._names_at[at], names)
        shape = (len(rows), names + 1)
        parts = [
            np.bincount(places, odds[self._has.indices[at]], shape[0] * shape[1]).reshape(shape)
            for odds in (self._log_odds(history, {}, memory) for memory in MEMORIES)
        ]
        return np.concatenate(parts, axis=1)

    def _matrices(self, weights: FacetWeights) -> list[tuple[float, sparse.csr_array]]:
        """By memory what each value of each item weighs (N, V); none where nothing does."""
        by_name = [weights.named.get(name, weights.others) for name in self.names]
        by_memory = np.array(by_name, np.float32).reshape(-1, 2).T
        places = self._has.indices, self._has.indptr
        return [
            (memory, sparse.csr_array((column[self._names_at], *places), self._has.shape))
            for memory, column in zip(MEMORIES, by_memory, strict=True)
            if column.any()
        ]

    def _log_odds(
        self, history: Sequence[str], beside: Mapping[str, FusedItem], memory: float
    ) -> NDArray[np.float64]:
        """Log odds (V,) of every value among the likes against the catalogue."""
        known = [one for one in history if one in self.rows or one in beside]
        weights = memory ** np.arange(len(known))[::-1]
        strange = np.array([one not in self.rows for one in known], bool)
        rows = np.array([self.rows[one] for one in known if one in self.rows], np.int64)
        weights[~strange] *= self._told[rows]
        counts = weights[~strange] @ self._has[rows]
        for at in np.flatnonzero(strange).tolist():
            columns = self._values_of(beside[known[at]])
            counts[columns] += weights[at]
            weights[at] *= bool(columns)
        share = (counts + PRIOR * self._common) / (weights.sum() + PRIOR)
        return np.asarray(np.log(share / self._common), np.float64)

    def _values_of(self, fused: FusedItem) -> list[int]:
        values = map(folded, fused.facets())
        return [self._columns[value] for value in values if value in self._columns]
