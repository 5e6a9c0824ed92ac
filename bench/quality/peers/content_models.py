"""Content alone: BM25 on the texts, and nearness of the fused vectors."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product

import bm25s
import numpy as np
import pandas as pd
from written import LENGTH, Data, Lists, Trial

LATEST = (1, 3, 5, 10)
"""Latest likes that are asked with."""
TERM_WEIGHTS = ((0.9, 0.4), (1.5, 0.75))
"""k1 and b of BM25."""
RECENCIES = (0.5, 0.7, 0.9)
"""What a like counts of the one after it."""

Score = Callable[[Sequence[int]], np.ndarray]
"""Rows of a history to scores of all items (N,)."""


def bm25(data: Data) -> Iterator[Trial]:
    """Yield BM25 of the texts, asked with the texts of the latest likes."""
    tokens = bm25s.tokenize(data.items["text"].to_list(), return_ids=False, show_progress=False)
    for k1, b in TERM_WEIGHTS:
        index = bm25s.BM25(k1=k1, b=b)
        index.index(tokens, show_progress=False)
        for latest in LATEST:
            score = partial(_by_words, index, tokens, latest)
            yield Trial(data, {"k1": k1, "b": b, "latest": latest}, partial(_lists, data, score))


def _by_words(
    index: bm25s.BM25, tokens: Sequence[Sequence[str]], latest: int, history: Sequence[int]
) -> np.ndarray:
    words = [word for row in history[-latest:] for word in tokens[row]]
    return np.asarray(index.get_scores(words)) if words else np.zeros(len(tokens))


def content(data: Data) -> Iterator[Trial]:
    """Yield nearness to the mean vector of the latest likes, later ones counting more."""
    for latest, recency in product(LATEST, RECENCIES):
        score = partial(_by_vectors, data.vectors, latest, recency)
        yield Trial(data, {"latest": latest, "recency": recency}, partial(_lists, data, score))


def _by_vectors(
    vectors: np.ndarray, latest: int, recency: float, history: Sequence[int]
) -> np.ndarray:
    newest = list(history[-latest:])[::-1]
    return vectors @ (recency ** np.arange(len(newest)) @ vectors[newest])


def _lists(data: Data, score: Score, histories: pd.DataFrame) -> Lists:
    """The highest scores of each case that has a history, without what is in it."""
    ids = data.items["item_id"].to_numpy()
    lists: Lists = {}
    for case, history in zip(histories["case"], histories["history"], strict=True):
        rows = [data.rows[item_id] for item_id in history]
        if rows:
            scores = score(rows).astype(np.float64)
            scores[rows] = -np.inf
            best = np.argsort(-scores, kind="stable")[:LENGTH]
            best = best[np.isfinite(scores[best])]
            lists[case] = (ids[best].tolist(), scores[best].tolist())
    return lists
