"""Soft labels of scores: the chances that picks were drawn with, and only where they help."""

from random import Random

import pytest

from mllm_srec.finetune.data.records import AnyRecord, Branch, Record, RecordGroup, Turn
from mllm_srec.finetune.data.soft_labels import PickNetwork, Picks, soften

LOVES, SLIGHT = "colour: loves", "style: slight, rising"
CHANCES = {(): 0.02, (SLIGHT,): 0.1, (LOVES,): 0.4, (LOVES, SLIGHT): 0.8}
"""How probable a pick is, by what user and item have in common."""


def group(rng: Random, *, drawn: bool = True) -> RecordGroup:
    branches = []
    for _ in range(8):
        common = rng.choice(list(CHANCES))
        chance = CHANCES[common] if drawn else 0.3
        branches.append(
            Branch(
                suffix=f"\nItem: mug: red\nIn common: {'; '.join(common) or 'none'}",
                label="Yes" if rng.random() < chance else "No",
            )
        )
    return scores(branches)


def scores(branches: list[Branch], shared: str = "Score") -> RecordGroup:
    user = Turn.model_validate({"role": "user", "content": [{"type": "text", "text": shared}]})
    return RecordGroup(task="score_target", prompt=(user,), branches=tuple(branches))


def part(count: int, seed: int, *, drawn: bool = True) -> list[tuple[str, AnyRecord]]:
    rng = Random(seed)
    return [(f"user:{number}", group(rng, drawn=drawn)) for number in range(count)]


def picked(count: int, seed: int) -> Picks:
    return Picks(record for _, record in part(count, seed))


def believed(branch: Branch) -> float:
    return 1 - branch.doubt if branch.label == "Yes" else branch.doubt


def test_labels_become_the_chances_that_the_picks_were_drawn_with() -> None:
    train, found = soften(part(3_000, 1), part(300, 2), Picks(), seed=0)
    assert found is not None
    assert found.used
    assert (found.picks, found.log_loss < found.prior_log_loss - 0.1) == (24_000, True)
    shown = {}
    for _, record in train:
        assert isinstance(record, RecordGroup)
        for branch in record.branches:
            shown[branch.suffix.partition("In common: ")[2]] = believed(branch)
    for common, chance in CHANCES.items():
        assert shown["; ".join(common) or "none"] == pytest.approx(chance, abs=0.06)


def test_what_was_picked_stays_where_nothing_tells_picks_from_others() -> None:
    train = part(40, 1, drawn=False)
    kept, found = soften(train, part(400, 2, drawn=False), Picks(), seed=0)
    assert found is not None
    assert not found.used
    assert kept == train


def test_the_same_seed_gives_the_same_labels_and_draws_nothing_from_others() -> None:
    picks = picked(50, 1)
    first, again, other = (PickNetwork.fit(picks, seed=seed) for seed in (3, 3, 4))
    assert first.chances(picks).equal(again.chances(picks))
    assert not first.chances(picks).equal(other.chances(picks))


def test_words_that_no_training_group_had_say_nothing() -> None:
    picks = picked(50, 1)
    network = PickNetwork.fit(picks, seed=0)
    plain, odd = (
        Branch(suffix=f"\nItem: mug\nIn common: {common}", label="No")
        for common in ("none", "brand: adores; none")
    )
    assert network.chances(Picks([scores([plain])])).equal(network.chances(Picks([scores([odd])])))


def test_other_records_and_a_part_without_scores_are_left_alone() -> None:
    message = Turn.model_validate({"role": "user", "content": [{"type": "text", "text": "hi"}]})
    answer = Turn.model_validate({"role": "assistant", "content": [{"type": "text", "text": "x"}]})
    other = ("user:1", Record(task="explain", messages=(message, answer)))
    train, found = soften([other, *part(2_000, 1)], part(200, 2), Picks(), seed=0)
    assert found is not None
    assert found.used
    assert train[0] is other or train[0] == other
    assert soften(part(5, 1), [other], Picks(), seed=0) == (part(5, 1), None)


def test_the_picks_of_users_without_records_are_learned_from_too() -> None:
    few, test = part(20, 1), part(300, 2)
    _, alone = soften(few, test, Picks(), seed=0)
    _, with_others = soften(few, test, picked(3_000, 3), seed=0)
    assert alone is not None
    assert with_others is not None
    assert with_others.picks == alone.picks + 24_000
    assert with_others.log_loss < alone.log_loss


def test_how_much_of_a_history_there_is_counts_too() -> None:
    short, long = (
        Picks([scores([Branch(suffix="\nItem: mug\nIn common: none", label="No")], shared)])
        for shared in ("\nSo far: 2 items, 1 of them liked", "\nSo far: 40 items, 31 of them liked")
    )
    assert short.words == [("items: 3", "liked: 2")]
    assert long.words == [("items: 11", "liked: 10")]
