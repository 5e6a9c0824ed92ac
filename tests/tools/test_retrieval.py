from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mllm_srec.store.records import FusedItem, Interaction
from mllm_srec.tools.collaborative import CollaborativeModel
from mllm_srec.tools.facets import FacetModel
from mllm_srec.tools.retrieval import SOURCES, Query, Retriever

ITEMS = [f"i{n:02}" for n in range(12)]
NEW = "new"
"""In the index alone: no interaction yet."""


class ExactIndex:
    """The index protocol over a dictionary."""

    def __init__(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        self._vectors = vectors

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        return {item_id: self._vectors[item_id] for item_id in ids if item_id in self._vectors}

    def nearest(
        self, vector: NDArray[np.float32], k: int, allowed: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        pairs = [
            (item_id, float(1 - kept @ vector / np.linalg.norm(vector)))
            for item_id, kept in self._vectors.items()
            if allowed is None or item_id in allowed
        ]
        return sorted(pairs, key=lambda pair: (pair[1], pair[0]))[:k]


def unit_vectors() -> dict[str, NDArray[np.float32]]:
    rows = np.random.default_rng(0).normal(size=(len(ITEMS) + 1, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return dict(zip([*ITEMS, NEW], rows, strict=True))


VECTORS = unit_vectors()
FACETS = FacetModel.fit(
    {
        item_id: FusedItem(what="toy" if row % 2 else "lamp", told={"colour": f"c{row % 3}"})
        for row, item_id in enumerate([*ITEMS, NEW])
    }
)


def retriever() -> Retriever:
    rows = [
        {"user_id": f"u{user}", "item_id": ITEMS[(user * step + step) % 10], "position": step}
        for user in range(20)
        for step in range(5)
    ]
    model = CollaborativeModel.fit(pl.DataFrame(rows), ITEMS)
    return Retriever(model, FACETS, ExactIndex(VECTORS), min_rating=4.0)


def history(*items: str, rating: float | None = None) -> list[Interaction]:
    return [
        Interaction(user_id="u", item_id=item, position=position, rating=rating)
        for position, item in enumerate(items)
    ]


def test_seen_items_are_left_out_also_when_they_were_disliked() -> None:
    found = (
        retriever().retrieve(Query(history(*ITEMS[:4], rating=1.0), VECTORS[ITEMS[0]])).candidates
    )
    assert not {candidate.item_id for candidate in found} & set(ITEMS[:4])
    assert len(found) == len(ITEMS) - 4 + 1


def test_each_candidate_says_where_it_came_from() -> None:
    found = (
        retriever().retrieve(Query(history(ITEMS[0], ITEMS[1]), VECTORS[NEW]), count=6).candidates
    )
    assert all(candidate.sources for candidate in found)
    assert {source for candidate in found for source in candidate.sources} >= {"followed", "taste"}


def test_an_item_without_interactions_is_found_by_its_content() -> None:
    found = retriever().retrieve(Query(history(ITEMS[0]), VECTORS[NEW])).candidates
    new = next(candidate for candidate in found if candidate.item_id == NEW)
    assert "taste" in new.sources
    assert "followed" not in new.sources
    assert new.features["followed"] == 0


def test_an_item_with_the_values_of_the_likes_is_found_by_them() -> None:
    # Neither followed nor near: like ITEMS[0], the new item is a lamp of the first colour.
    found = retriever().retrieve(Query(history(ITEMS[0]))).candidates
    new = next(candidate for candidate in found if candidate.item_id == NEW)
    assert "facets" in new.sources
    assert new.features["facets"] == max(candidate.features["facets"] for candidate in found)


def test_a_thing_that_is_not_in_the_catalogue_speaks_by_its_description_and_its_vector() -> None:
    fused = FusedItem(what="lamp", told={"colour": "c0"})  # As ITEMS[0].
    strangers = {"mine": (fused, VECTORS[ITEMS[0]])}
    own = retriever().retrieve(Query(history("mine"), strangers=strangers)).candidates
    assert {candidate.item_id for candidate in own} >= {ITEMS[0], NEW}
    assert "mine" not in {candidate.item_id for candidate in own}
    same = retriever().retrieve(Query(history(ITEMS[0]))).candidates
    facets = {candidate.item_id: candidate.sources.get("facets") for candidate in own}
    recent = {candidate.item_id: candidate.sources.get("recent") for candidate in own}
    for candidate in same:
        assert facets[candidate.item_id] == candidate.sources.get("facets")
        assert recent[candidate.item_id] == candidate.sources.get("recent")


def test_an_unknown_user_gets_what_is_popular() -> None:
    shop = retriever()
    found = shop.retrieve(Query(), count=5).candidates
    popularity = dict(zip(ITEMS, shop.collaborative.popularity, strict=True))
    counts = [popularity[candidate.item_id] for candidate in found]
    assert len(found) == 5
    assert counts == sorted(counts, reverse=True)
    assert all(set(candidate.sources) == {"popular"} for candidate in found)


def test_a_user_with_only_a_preference_gets_what_is_near_to_it() -> None:
    found = retriever().retrieve(Query(preference=VECTORS[ITEMS[3]]), count=3).candidates
    assert any(candidate.item_id == ITEMS[3] for candidate in found)


def test_only_allowed_items_are_found() -> None:
    allowed = frozenset({ITEMS[5], ITEMS[6], NEW})
    found = retriever().retrieve(Query(history(ITEMS[5]), VECTORS[NEW], allowed)).candidates
    assert {candidate.item_id for candidate in found} == {ITEMS[6], NEW}


def test_an_empty_index_leaves_the_collaborative_sources() -> None:
    shop = Retriever(retriever().collaborative, FACETS, ExactIndex({}))
    found = shop.retrieve(Query(history(ITEMS[0]), VECTORS[NEW]), count=4).candidates
    assert len(found) == 4
    assert all(candidate.features["taste"] == 0 for candidate in found)


@settings(max_examples=30)
@given(
    seen=st.lists(st.sampled_from([*ITEMS, NEW, "gone"]), max_size=13),
    preference=st.none() | st.sampled_from([*ITEMS, NEW]),
    count=st.integers(1, 20),
    allowed=st.none() | st.frozensets(st.sampled_from([*ITEMS, NEW])),
)
def test_candidates_are_distinct_ordered_allowed_and_the_same_again(
    seen: list[str], preference: str | None, count: int, allowed: frozenset[str] | None
) -> None:
    shop = retriever()
    query = Query(history(*seen), VECTORS[preference] if preference else None, allowed)
    found = shop.retrieve(query, count=count).candidates
    ids = [candidate.item_id for candidate in found]
    scores = [candidate.retrieval_score for candidate in found]
    assert len(set(ids)) == len(ids) <= count
    assert not set(ids) & set(seen)
    assert allowed is None or set(ids) <= allowed
    assert scores == sorted(scores, reverse=True)
    assert [candidate.retrieval_rank for candidate in found] == list(range(1, len(ids) + 1))
    again = shop.retrieve(query, count=count)
    assert again.candidates == found


def test_what_was_dropped_is_named_with_its_reason_and_counted() -> None:
    allowed = frozenset({ITEMS[1], *ITEMS[4:], NEW})
    found = retriever().retrieve(Query(history(ITEMS[0], ITEMS[1]), VECTORS[NEW], allowed), count=3)
    dropped = {each.item_id: each for each in found.dropped}
    assert not set(dropped) & {candidate.item_id for candidate in found.candidates}
    assert {ITEMS[0], ITEMS[1]} == {i for i, e in dropped.items() if e.reason == "seen before"}
    assert {e.item_id for e in found.dropped if e.reason == "not allowed"} <= {*ITEMS[2:4]}
    below = [each for each in found.dropped if each.reason == "below the list"]
    assert [each.place for each in below] == list(range(4, 4 + len(below)))
    assert all(each.sources for each in found.dropped)
    assert found.dropped_counts == Counter(each.reason for each in found.dropped)


def test_only_the_best_of_each_reason_are_named() -> None:
    found = retriever().retrieve(Query(preference=VECTORS[NEW], allowed=frozenset({NEW})))
    assert len(found.dropped) == 10 < found.dropped_counts["not allowed"] == len(ITEMS)
    assert {each.place for each in found.dropped} == set(range(1, 11))


def test_an_item_without_a_description_is_dropped_as_such() -> None:
    shop = retriever()
    described = FacetModel.fit({NEW: FusedItem(what="lamp"), ITEMS[1]: FusedItem(what="toy")})
    found = Retriever(shop.collaborative, described, ExactIndex({})).retrieve(Query())
    assert [candidate.item_id for candidate in found.candidates] == [ITEMS[1]]
    assert set(found.dropped_counts) == {"not described"}


def test_each_source_says_when_it_worked_and_what_it_found() -> None:
    found = retriever().retrieve(Query(history(ITEMS[0]), VECTORS[NEW]), count=4)
    assert [each.source for each in found.searches] == list(SOURCES)
    ends = [moment for each in found.searches for moment in (each.start_ns, each.end_ns)]
    assert ends == sorted(ends)
    for candidate in found.candidates:
        brought = {e.source: e.found for e in found.searches if candidate.item_id in e.found}
        assert candidate.sources == {n: items[candidate.item_id] for n, items in brought.items()}
