"""What lists are like besides hitting the target: coverage, novelty, diversity, popularity, types.

All are of the first `LENGTH` items of each user's list, whatever their order.

- *coverage*: share of the catalogue that stands in somebody's list.
- *novelty*: mean self-information of the listed items, -log2 of the share of training users who
  chose the item (bits; an item that nobody chose counts as chosen by one).
- *diversity*: mean over the pairs of a list of 1 - Jaccard similarity of the values that describe
  the two items.
- *popularity lift*: how many times more popular the lists are than what the users chose themselves,
  less one (Abdollahpouri et al. 2019); 0 keeps a user's own level, below 0 goes to rarer items.
- *miscalibration*: Kullback-Leibler divergence of the types of item in a list from those in the
  user's history (Steck 2018; nats, 0 where both have the same shares).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mllm_srec.finetune.data.splits import Split
from mllm_srec.finetune.evaluation.metrics import Floats
from mllm_srec.store.records import FusedItem

LENGTH = 10
SMOOTHING = 0.01
"""Share of the history's types in those of the list, so that a missing type is not infinite."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What the measures know of the items, in the order of the split's catalogue."""

    choosers: Floats
    """Users of the training part who chose the item (N,)."""
    users: int
    values: sparse.csr_array | None = None
    """Which of all values describe an item (N, V); None where the items are not fused."""
    types: Rows | None = None
    """Number of the item's type (N,)."""

    @classmethod
    def of(cls, split: Split, fused: Mapping[str, FusedItem]) -> "ItemFacts":
        """Count the training part, and read the descriptions where every item has one."""
        by_item = split.train.group_by("item_id").n_unique().select("item_id", "user_id")
        counts = dict(by_item.iter_rows())
        choosers = np.array([float(counts.get(item_id, 0)) for item_id in split.item_ids])
        users = split.train["user_id"].n_unique()
        if not all(item_id in fused for item_id in split.item_ids):
            return cls(choosers, users)
        described = [fused[item_id] for item_id in split.item_ids]
        numbers: dict[str, int] = {}
        types = np.array([numbers.setdefault(one.what, len(numbers)) for one in described])
        return cls(choosers, users, _values(described), types)


def _values(described: Sequence[FusedItem]) -> sparse.csr_array:
    columns: dict[str, int] = {}
    rows, cells = [], []
    for row, item in enumerate(described):
        for value in item.facets():
            rows.append(row)
            cells.append(columns.setdefault(value, len(columns)))
    shape = (len(described), len(columns))
    return sparse.csr_array((np.ones(len(rows)), (rows, cells)), shape=shape)


def list_figures(lists: Rows, histories: Sequence[Rows], facts: ItemFacts) -> dict[str, float]:
    """Measure the lists of all users; what needs descriptions is left out without them.

    Args:
        lists: Rows of the items (U, K), -1 where a list is shorter.
        histories: Rows of the items of each user's history.
        facts: Of the items.
    """
    if not len(lists):
        return {}
    figures = {
        "coverage": len(np.unique(lists[lists >= 0])) / len(facts.choosers),
        "novelty": novelty(lists, facts),
        "popularity_lift": popularity_lift(lists, histories, facts.choosers),
    }
    if facts.values is not None and facts.types is not None:
        figures["diversity"] = diversity(lists, facts.values)
        figures["miscalibration"] = miscalibration(lists, histories, facts.types)
    return {f"{name}@{LENGTH}": value for name, value in figures.items()}


def novelty(lists: Rows, facts: ItemFacts) -> float:
    """Mean self-information of the listed items, in bits; 0 where nothing is listed."""
    information = -np.log2(np.maximum(facts.choosers, 1.0) / max(facts.users, 1))
    listed = information[lists[lists >= 0]]
    return float(listed.mean()) if len(listed) else 0.0


def popularity_lift(lists: Rows, histories: Sequence[Rows], choosers: Floats) -> float:
    """Mean popularity of the lists over that of the histories, less one; 0 without either."""
    listed = [choosers[row[row >= 0]].mean() for row in lists if (row >= 0).any()]
    chosen = [choosers[history].mean() for history in histories if len(history)]
    level = float(np.mean(chosen)) if chosen else 0.0
    return float(np.mean(listed)) / level - 1.0 if level and listed else 0.0


def diversity(lists: Rows, values: sparse.csr_array) -> float:
    """Mean of 1 - Jaccard similarity over the pairs of items of a list; 0 without pairs."""
    sizes = np.asarray(values.sum(axis=1)).ravel()
    distance, pairs = 0.0, 0
    for first, second in combinations(range(lists.shape[1]), 2):
        both = (lists[:, first] >= 0) & (lists[:, second] >= 0)
        left, right = lists[both, first], lists[both, second]
        shared = np.asarray(values[left].multiply(values[right]).sum(axis=1)).ravel()
        distance += float((1.0 - shared / (sizes[left] + sizes[right] - shared)).sum())
        pairs += len(left)
    return distance / pairs if pairs else 0.0


def miscalibration(lists: Rows, histories: Sequence[Rows], types: Rows) -> float:
    """Mean divergence of the lists' types from the histories', over users who have both."""
    found = [
        _divergence(types[history].tolist(), types[row[row >= 0]].tolist())
        for row, history in zip(lists, histories, strict=True)
        if len(history) and (row >= 0).any()
    ]
    return float(np.mean(found)) if found else 0.0


def _divergence(chosen: Sequence[int], listed: Sequence[int]) -> float:
    wanted, given = Counter(chosen), Counter(listed)
    total = 0.0
    for kind, count in wanted.items():
        share = count / len(chosen)
        near = (1 - SMOOTHING) * given[kind] / len(listed) + SMOOTHING * share
        total += share * float(np.log(share / near))
    return total
