from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mllm_srec.agent.results import Tokens
from mllm_srec.finetune.data.splits import (
    Case,
    Split,
    sample_cases,
    shuffle_days,
    split_by_time,
    split_by_user,
)
from mllm_srec.finetune.evaluation.baselines import Scorer, Tuning, fit_baselines
from mllm_srec.finetune.evaluation.evaluate import (
    NEGATIVES,
    LeakError,
    Ranker,
    Ranking,
    draw_pools,
    popularity_log_q,
    run_trial,
)
from mllm_srec.finetune.evaluation.pairs import draw_pairs
from mllm_srec.finetune.evaluation.report import Report, Row, summarize
from mllm_srec.store.records import Interaction
from mllm_srec.tools.collaborative import CollaborativeModel

ITEMS = [f"i{n:02}" for n in range(40)]


def chain_log(users: int = 60) -> pl.DataFrame:
    """A log in which every item is followed by the next one."""
    rows = [
        {"user_id": f"u{user:02}", "item_id": ITEMS[(user + step) % 40], "position": step}
        for user in range(users)
        for step in range(8)
    ]
    return pl.DataFrame(rows)


SPLIT = split_by_user(chain_log(), ITEMS)


@dataclass(frozen=True)
class Oracle:
    """Knows the chain: the item after the last one comes next."""

    value: float = 1.0

    def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.float64]:
        scores = np.zeros((len(histories), len(ITEMS)))
        for user, history in enumerate(histories):
            scores[user, (ITEMS.index(history[-1].item_id) + 1) % 40] = self.value
        return scores


class Constant:
    """Gives every item the same score."""

    def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.float64]:
        return np.zeros((len(histories), len(ITEMS)))


def evaluate_ranking(
    scorers: Mapping[str, Scorer], split: Split, *, rank: Ranker | None = None, **asked: Any
) -> Report:
    rankers = None if rank is None else {"full": rank}
    return summarize([run_trial(scorers, split, rankers=rankers, **asked)])


def row(report: Report, name: str) -> dict[str, float]:
    [found] = [one for one in report.rows if one.name == name]
    return {key: value for key, value in found if isinstance(value, float)}


def test_who_knows_the_answer_gets_all_and_who_knows_nothing_gets_chance() -> None:
    report = evaluate_ranking({"oracle": Oracle(), "constant": Constant()}, SPLIT)
    assert row(report, "oracle")["ndcg@5"] == row(report, "oracle")["auc"] == 1
    assert row(report, "constant")["auc"] == pytest.approx(0.5)
    assert row(report, "constant")["recall@10"] == 0
    assert (report.users, report.items) == (60, 40)
    assert report.full_minus_retrieval is None


def test_every_simple_baseline_has_a_row_and_transitions_know_the_chain() -> None:
    report = evaluate_ranking(fit_baselines(SPLIT), SPLIT)
    names = [one.name for one in report.rows]
    assert names == ["popularity", "item-knn", "ease", "transitions", "collaborative"]
    assert row(report, "transitions")["ndcg@10"] > 0.8
    assert row(report, "transitions")["ndcg@10"] > row(report, "popularity")["ndcg@10"]


def test_tuning_finds_the_recency_that_validation_asks_for() -> None:
    model = CollaborativeModel.fit(SPLIT.train, SPLIT.item_ids)
    chosen = Tuning(model, SPLIT, None).blend()
    assert chosen.recency < model.settings.recency
    assert Tuning(model, SPLIT, None).blend() == chosen
    plain = row(evaluate_ranking(fit_baselines(SPLIT), SPLIT), "collaborative")
    tuned = row(evaluate_ranking(fit_baselines(SPLIT, tune=True), SPLIT), "collaborative")
    assert tuned["ndcg@10"] >= plain["ndcg@10"]


def test_without_validation_cases_the_settings_stay_as_they_are() -> None:
    split = replace(SPLIT, validation=())
    plain, tuned = (
        evaluate_ranking(fit_baselines(split, tune=tune), split) for tune in (False, True)
    )
    assert plain == tuned


def test_no_cases_have_no_pairs() -> None:
    assert draw_pairs([], SPLIT).by_case(np.zeros(0), 0) == []


def test_a_target_outside_the_candidates_is_a_miss() -> None:
    def rank(cases: Sequence[Case], pools: Sequence[frozenset[str]] | None) -> list[Ranking]:
        assert pools is None
        half = len(cases) // 2
        missed = [Ranking(["i00"], ["i00"])] * half
        others = ["i01" if one.target != "i01" else "i02" for one in cases[half:]]
        return missed + [
            Ranking([one.target, other], [other, one.target])
            for one, other in zip(cases[half:], others, strict=True)
        ]

    test = tuple(case for case in SPLIT.test if case.target != "i00")
    split = replace(SPLIT, validation=(), test=test)
    report = evaluate_ranking({}, split, rank=rank)
    full, retrieval = row(report, "full"), row(report, "retrieval")
    share = 1 - (len(split.test) // 2) / len(split.test)
    assert full["mrr@10"] == pytest.approx(share)
    assert retrieval["mrr@10"] == pytest.approx(share / 2)
    assert 0.5 < full["auc"] < 1
    difference = report.full_minus_retrieval
    assert difference is not None
    assert difference["low"] <= difference["ndcg@10"] <= difference["high"]
    assert difference["ndcg@10"] == pytest.approx(full["ndcg@10"] - retrieval["ndcg@10"])


def test_pools_hold_the_target_and_seeded_unseen_negatives() -> None:
    pools = draw_pools(SPLIT, SPLIT.test, seed=4)
    assert pools == draw_pools(SPLIT, SPLIT.test, seed=4) != draw_pools(SPLIT, SPLIT.test, seed=5)
    assert draw_pools(SPLIT, SPLIT.test[7:9], seed=4) == pools[7:9]
    for case, pool in zip(SPLIT.test, pools, strict=True):
        assert pool[0] == case.target
        assert len(set(pool)) == 1 + NEGATIVES
        assert not set(pool) & {one.item_id for one in case.history}


@pytest.mark.parametrize(("others", "error"), [(0, None), (1, 0.0), (5, 0.0)])
def test_the_calibration_error_is_that_of_the_mix_however_few_others_there_are(
    others: int, error: float | None
) -> None:
    # Calibrated to one liked item in six.
    def rank(cases: Sequence[Case], pools: Sequence[frozenset[str]] | None) -> list[Ranking]:
        return [
            Ranking([one.target], [one.target], chances=[1 / 6] * (1 + others)) for one in cases
        ]

    full = row(evaluate_ranking({}, SPLIT, rank=rank), "full")
    assert full.get("ece") == (error if error is None else pytest.approx(error))


def test_negatives_are_drawn_by_popularity() -> None:
    rows = [
        {"user_id": f"u{user:03}", "item_id": ITEMS[item], "position": place}
        for user in range(300)
        for place, item in enumerate([0, 3 + user % 37, 1, 2])
    ]
    split = split_by_user(pl.DataFrame(rows), ITEMS)
    unseen = Case("w", "i02", 0, None, (), 0)
    drawn = [item for seed in range(200) for item in draw_pools(split, [unseen], seed=seed)[0][1:]]
    assert popularity_log_q(split)[0] == popularity_log_q(split).max()
    assert drawn.count("i00") == 200 > drawn.count("i01") < drawn.count("i05")


def test_the_sampled_protocol_ranks_pools_and_hands_them_to_the_graph() -> None:
    def rank(cases: Sequence[Case], pools: Sequence[frozenset[str]] | None) -> list[Ranking]:
        assert pools is not None
        assert all(one.target in pool for one, pool in zip(cases, pools, strict=True))
        return [Ranking(sorted(pool), sorted(pool)) for pool in pools]

    report = evaluate_ranking({"constant": Constant()}, SPLIT, protocol="sampled", rank=rank)
    assert row(report, "constant")["recall@10"] == 0
    assert row(report, "constant")["auc"] == pytest.approx(0.5)
    assert 0.2 < row(report, "full")["recall@10"] < 0.8


def test_in_pools_the_observer_s_popularity_is_taken_off() -> None:
    class Counts:
        def scores(self, histories: Sequence[Sequence[Interaction]]) -> NDArray[np.float64]:
            return np.tile(popularity_log_q(SPLIT), (len(histories), 1))

    scorers = {"observer": Counts(), "plain": Counts()}
    report = evaluate_ranking(scorers, SPLIT, protocol="sampled")
    assert row(report, "observer")["auc"] == pytest.approx(0.5)
    assert row(report, "plain")["auc"] != pytest.approx(0.5)


def test_warm_and_cold_users_are_shown_apart() -> None:
    frame = chain_log().filter((pl.col("user_id") > "u10") | (pl.col("position") < 4))
    report = evaluate_ranking({"oracle": Oracle()}, split_by_user(frame, ITEMS))
    groups = report.rows[0].groups
    assert groups["cold"]["users"] == 11
    assert groups["warm"]["users"] == 49
    assert groups["cold"]["ndcg@10"] == groups["cold"]["ndcg@10_high"] == 1


def test_a_planted_leak_stops_the_evaluation() -> None:
    leaked = replace(SPLIT, train=chain_log())
    with pytest.raises(LeakError, match="120 leaks"):
        evaluate_ranking({"oracle": Oracle()}, leaked)


def test_another_user_s_future_stops_the_evaluation_of_a_time_split() -> None:
    split = split_by_time(chain_log().with_columns(timestamp=pl.col("position")), ITEMS)
    run_trial({"oracle": Oracle()}, split)
    # Nobody is asked for this user, so that no position of theirs is too late.
    future = split.train.head(1).with_columns(user_id=pl.lit("w"), timestamp=pl.lit(7, pl.Int64))
    with pytest.raises(LeakError, match="1 leaks, the first: training: user 'w' has 'i00' at time"):
        run_trial({"oracle": Oracle()}, replace(split, train=split.train.vstack(future)))


def test_scores_for_another_catalogue_are_refused() -> None:
    other = replace(SPLIT, item_ids=(*SPLIT.item_ids, "more"))
    with pytest.raises(ValueError, match="41 items"):
        evaluate_ranking({"oracle": Oracle()}, other)


def test_users_are_drawn_by_the_seed_in_their_own_order() -> None:
    drawn = sample_cases(SPLIT.test, 10, seed=1)
    assert drawn == sample_cases(SPLIT.test, 10, seed=1) != sample_cases(SPLIT.test, 10, seed=2)
    assert drawn == [case for case in SPLIT.test if case in drawn]
    assert sample_cases(SPLIT.test, None) == sample_cases(SPLIT.test, 999) == list(SPLIT.test)


def test_the_same_users_are_asked_in_every_order_of_the_days() -> None:
    # A day each. Of the second kind some have nothing to hold out: in an order that begins with a
    # like, only one more is behind it.
    kinds = {"a": (5, 5, 5), "b": (5, 5, 1)}
    frame = pl.DataFrame(
        [
            (f"u{number:02}{kind}", f"i{place}", place, float(rating), 0)
            for number in range(20)
            for kind, ratings in kinds.items()
            for place, rating in enumerate(ratings)
        ],
        schema=["user_id", "item_id", "position", "rating", "timestamp"],
        orient="row",
    )
    items = ("i0", "i1", "i2", "i3")
    orders = [split_by_user(shuffle_days(frame, seed=n), items, min_rating=3) for n in (1, 2)]
    able = [{case.user_id for case in split.test} for split in orders]
    asked = [
        {case.user_id for case in run_trial({}, split, users=10, seed=1).cases} for split in orders
    ]
    assert able[0] != able[1]
    assert [len(each) for each in asked] == [10, 10]
    # Who can be asked in both orders is, but for those who stand in for others.
    lost = (asked[0] - able[1]) | (asked[1] - able[0])
    assert len((asked[0] ^ asked[1]) - lost) <= len(lost)


def test_the_report_is_json_with_measures_beside_the_names() -> None:
    report = evaluate_ranking({"oracle": Oracle()}, SPLIT, users=5)
    again = Report.model_validate_json(report.model_dump_json())
    assert again == report
    assert isinstance(again.rows[0], Row)
    assert '"recall@10":1.0' in report.model_dump_json()


def test_a_leak_in_a_history_stops_the_evaluation_too() -> None:
    case = SPLIT.test[0]
    told = Interaction(user_id=case.user_id, item_id=case.target, position=0)
    shown = Case(case.user_id, case.target, case.position, None, (*case.history, told), 6)
    leaked = replace(SPLIT, test=(shown, *SPLIT.test[1:]))
    with pytest.raises(LeakError, match="history: user 'u00' shows the target"):
        evaluate_ranking({"oracle": Oracle()}, leaked)


def test_what_the_graph_took_stands_in_its_row_alone() -> None:
    def rank(cases: Sequence[Case], pools: Sequence[frozenset[str]] | None) -> list[Ranking]:
        tokens = Tokens(calls=3, stored=1, prompt=100, completion=20)
        chances = (0.9, 0.1, 0.1)
        return [Ranking([one.target], [one.target], 0.5, tokens, chances) for one in cases]

    report = evaluate_ranking({"oracle": Oracle()}, SPLIT, rank=rank)
    full = row(report, "full")
    assert full["seconds_per_user"] == 0.5
    assert full["calls_per_user"] == 3
    assert full["stored_per_user"] == 1
    assert full["prompt_tokens_per_user"] == 100
    assert full["completion_tokens_per_user"] == 20
    assert full["ece"] == pytest.approx(0.1)
    assert not {"seconds_per_user", "ece"} & {*row(report, "retrieval"), *row(report, "oracle")}


def test_every_other_row_is_compared_with_full_on_the_same_users() -> None:
    def rank(cases: Sequence[Case], pools: Sequence[frozenset[str]] | None) -> list[Ranking]:
        return [Ranking([one.target], ["i00", one.target]) for one in cases]

    report = evaluate_ranking({"oracle": Oracle(), "constant": Constant()}, SPLIT, rank=rank)
    gains = {one.name: one.full_minus for one in report.rows}
    assert gains["full"] is None
    assert gains["retrieval"] == report.full_minus_retrieval
    assert gains["oracle"] == {"ndcg@10": 0, "low": 0, "high": 0, "p": 1}
    assert gains["constant"] is not None
    assert gains["constant"]["low"] > 0.9


def test_several_orders_of_the_days_are_averaged_and_their_spread_stands_apart() -> None:
    half = replace(SPLIT, test=SPLIT.test[:30])
    trials = [run_trial({"oracle": Oracle(value)}, half) for value in (1.0, 0.0)]
    report = summarize(trials)
    [found] = report.rows
    assert (report.shuffles, report.users) == (2, 30)
    assert found.figures["recall@5"] == pytest.approx(0.5)
    assert found.spread["recall@5"] == pytest.approx(np.std([1, 0], ddof=1))
    assert not summarize(trials[:1]).rows[0].spread


def test_the_spread_over_draws_of_negatives_stands_apart_from_the_users() -> None:
    def rank(cases: Sequence[Case], pools: Sequence[frozenset[str]] | None) -> list[Ranking]:
        assert pools is not None
        asked.append(pools)
        orders = [sorted(pool) for pool in pools]
        return [Ranking(order, order, seconds=float(len(asked))) for order in orders]

    asked: list[Sequence[frozenset[str]]] = []
    trials = [
        run_trial({}, SPLIT, protocol="sampled", rankers={"full": rank}, users=20, draw=draw)
        for draw in range(3)
    ]
    assert len({trial.cases[0].user_id for trial in trials}) == 1
    assert asked[0] != asked[1] != asked[2]
    report = summarize(trials, draws=3)
    assert (report.draws, report.shuffles, report.users) == (3, 1, 20)
    found = report.rows[1]
    means = [trial.outcomes["full"].ranks.users("ndcg@10").mean() for trial in trials]
    assert found.figures["ndcg@10"] == pytest.approx(np.mean(means))
    assert found.spread["ndcg@10"] == pytest.approx(np.std(means, ddof=1)) != 0
    # The second draw finds texts and scores of the first: only that says what a user costs.
    assert found.figures["seconds_per_user"] == 1


def test_recent_popularity_counts_the_end_of_the_log() -> None:
    rows = [
        {"user_id": f"u{user:02}", "item_id": ITEMS[item], "position": place, "timestamp": day}
        for user in range(40)
        for place, (item, day) in enumerate(
            [(user % 7, 1), (10, 2), (20 + user % 3, 3), (9, 4), (8, 5)]
        )
    ]
    split = split_by_user(pl.DataFrame(rows), ITEMS)
    scorers = fit_baselines(split)
    [[*old]] = scorers["popularity"].scores([()]).tolist()
    [[*new]] = scorers["popularity-recent"].scores([()]).tolist()
    assert old[10] == 40 > old[20] > 0
    assert new[10] == 0 < new[20]
