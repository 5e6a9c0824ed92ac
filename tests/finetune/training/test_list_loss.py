"""Liked items against the others of their list: the loss over lists, and pairs in order."""

import math
from pathlib import Path

import pytest
import torch

from mllm_srec.finetune.training.collate import Collator
from mllm_srec.finetune.training.encode import Encoder
from mllm_srec.finetune.training.losses import Answers, list_loss, pairs_in_order
from mllm_srec.finetune.training.record_pictures import Pictures
from tests.finetune.small import group, picture_files, write_small_model

YES, NO, END = 0, 1, 2


def answers(margins: list[float], liked: list[bool]) -> Answers:
    """Label tokens with these margins, each followed by an end mark."""
    rows, targets = [], []
    for margin, is_liked in zip(margins, liked, strict=True):
        rows += [[margin, 0.0, 0.0], [5.0, -5.0, 0.0]]
        targets += [YES if is_liked else NO, END]
    logits = torch.tensor(rows, requires_grad=True)
    return Answers(logits, torch.tensor(targets), torch.ones(len(targets)))


def lists_of(*numbers: int) -> torch.Tensor:
    return torch.tensor([value for number in numbers for value in (number, -1)])


def test_it_is_the_cross_entropy_of_the_liked_item_among_its_list() -> None:
    found = list_loss(answers([1.0, 0.0, 2.0], [True, False, False]), lists_of(0, 0, 0), YES, NO)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-1.0) + math.exp(1.0)))


def test_two_liked_items_do_not_compete() -> None:
    one = list_loss(answers([1.0, 0.0], [True, False]), lists_of(0, 0), YES, NO)
    two = list_loss(answers([1.0, 1.0, 0.0], [True, True, False]), lists_of(0, 0, 0), YES, NO)
    assert two.item() == pytest.approx(one.item())


def test_lists_do_not_mix() -> None:
    apart = list_loss(
        answers([1.0, 0.0, -3.0, 9.0], [True, False, True, False]), lists_of(0, 0, 1, 1), YES, NO
    )
    first = list_loss(answers([1.0, 0.0], [True, False]), lists_of(0, 0), YES, NO)
    second = list_loss(answers([-3.0, 9.0], [True, False]), lists_of(1, 1), YES, NO)
    assert apart.item() == pytest.approx((first.item() + second.item()) / 2)


def test_it_moves_labels_only_and_a_shift_of_a_list_changes_nothing() -> None:
    given = answers([1.0, 0.0, 2.0], [True, False, False])
    list_loss(given, lists_of(0, 0, 0), YES, NO).backward()  # type: ignore[no-untyped-call]
    gradient = given.logits.grad
    assert gradient is not None
    assert gradient[1::2].abs().sum() == 0
    assert gradient[0, YES] < 0 < gradient[2, YES]
    assert gradient[:, YES].sum().item() == pytest.approx(0.0, abs=1e-6)


def test_a_list_without_both_kinds_teaches_nothing() -> None:
    found = list_loss(answers([1.0, 2.0], [True, True]), lists_of(0, 0), YES, NO)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == 0.0


def test_pairs_are_of_one_group_and_ties_count_half() -> None:
    given = answers([1.0, 0.0, 1.0, -3.0, 9.0], [True, False, False, True, False])
    groups = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    # Of the first group one pair is in order and one is tied, of the second none is in order.
    assert pairs_in_order(given, groups, YES, NO) == (3, 1.5)
    assert pairs_in_order(answers([1.0], [True]), groups[:2], YES, NO) == (0, 0.0)


def test_a_batch_names_the_labels_of_each_group(tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "model")
    pictures = Pictures(picture_files(tmp_path), model)
    encoder = Encoder(model, pictures)
    trees = [encoder.encode(group()), encoder.encode(group(["No", "Yes"]))]
    batch = Collator(0, pictures, lists=True)(trees)
    assert batch["lists"].tolist() == [0, -1, 0, -1, 0, -1, 1, -1, 1, -1]
    assert "lists" not in Collator(0, pictures)(trees)


def test_a_label_in_doubt_is_in_its_list_once(tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "model")
    pictures = Pictures(picture_files(tmp_path), model)
    hard = group(["Yes", "No"])
    doubted = [branch.model_copy(update={"doubt": 0.2}) for branch in hard.branches]
    soft = hard.model_copy(update={"branches": tuple(doubted)})
    encoder, collate = Encoder(model, pictures), Collator(0, pictures, lists=True)
    before, after = (collate([encoder.encode(each)]) for each in (hard, soft))
    assert after["lists"].tolist() == [*before["lists"].tolist(), -1, -1]
    labels = after["lists"] >= 0
    assert after["targets"][labels].tolist() == before["targets"][before["lists"] >= 0].tolist()
