"""The training mechanics on a tiny random model: records, trees, masks, steps, export."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText

from mllm_srec.finetune.data.entries import write_origins
from mllm_srec.finetune.data.records import RecordError, RecordGroup, read_records, write_records
from mllm_srec.finetune.training.batches import TaskBatches, once
from mllm_srec.finetune.training.collate import Collator
from mllm_srec.finetune.training.encode import Encoder
from mllm_srec.finetune.training.losses import Answers, learn_answers_only, read_answers
from mllm_srec.finetune.training.recipe import Recipe, RecipeError
from mllm_srec.finetune.training.record_pictures import Pictures
from mllm_srec.finetune.training.train import DROPPED, train
from mllm_srec.llm.prompting import render
from tests.finetune.small import (
    SHARES,
    group,
    look,
    picture_files,
    train_records,
    weights,
    write_pictures,
    write_small_data,
    write_small_model,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("images"))


def load(folder: Path) -> Any:
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def encoder(base: Path, images: Path) -> Encoder:
    return Encoder(base, Pictures(picture_files(images), base))


@pytest.fixture(scope="module")
def collator(base: Path, images: Path) -> Collator:
    return Collator(0, Pictures(picture_files(images), base))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_small_data(tmp_path / "data")


def test_records_come_back_from_disk_as_they_went(tmp_path: Path) -> None:
    assert write_records(tmp_path / "r.jsonl", train_records()) == 4
    assert list(read_records(tmp_path / "r.jsonl")) == train_records()


def test_a_record_on_disk_is_a_conversation_with_its_pictures(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [look("red")])
    row = json.loads((tmp_path / "r.jsonl").read_text())
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
    assert row["messages"][1]["content"][0] == {"type": "image"}
    assert row["images"] == ["red.png"]


def test_a_broken_line_is_named_with_its_number_and_field(tmp_path: Path) -> None:
    good = look("red").model_dump(mode="json")
    bad = good | {"images": ["a.png", "b.png"]}
    (tmp_path / "r.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    with pytest.raises(RecordError, match=r"r\.jsonl, line 2.*1 image parts but 2 images"):
        list(read_records(tmp_path / "r.jsonl"))


def test_prompts_with_different_beginnings_are_no_group() -> None:
    prompts = [
        render(
            "score_target",
            profile=profile,
            preference="-",
            so_far="-",
            now="-",
            item="ball",
            common="-",
        )
        for profile in ("a", "b")
    ]
    with pytest.raises(ValueError, match="2 different beginnings"):
        RecordGroup.of("score_target", prompts, ["Yes", "No"])


def test_a_group_expands_to_the_tokens_of_its_branches(encoder: Encoder) -> None:
    tree = encoder.encode(group())
    shared = tree.ids[tree.branch == 0]
    for number, record in enumerate(group().expand(), 1):
        plain = encoder.encode(record)
        branch = tree.branch == number
        assert [*shared, *tree.ids[branch]] == plain.ids.tolist()
        assert tree.positions[branch].tolist() == plain.positions[len(shared) :].tolist()


def test_only_the_answer_and_its_end_are_learned(encoder: Encoder, base: Path) -> None:
    record = look("red")
    encoded = encoder.encode(record)
    learned = encoded.ids[encoded.weights > 0].tolist()
    assert decoded(base, learned) == record.completion[0].text + "<end_of_utterance>"


def decoded(base: Path, ids: Sequence[int]) -> str:
    text: str = Tokenizer.from_file(str(base / "tokenizer.json")).decode(
        list(ids), skip_special_tokens=False
    )
    return text


def test_a_tree_gives_the_logits_of_the_plain_records(
    base: Path, encoder: Encoder, collator: Collator
) -> None:
    model = load(base)
    batch = collator([encoder.encode(group()), encoder.encode(group(["No", "No"]))])
    rows, targets = batch.pop("rows"), batch.pop("targets")
    del batch["weights"]
    with torch.no_grad():
        tree = model(**batch).logits.flatten(0, 1)[rows]
        for record in [*group().expand(), *group(["No", "No"]).expand()]:
            plain = collator([encoder.encode(record)])
            alone = model(input_ids=plain["input_ids"]).logits.flatten(0, 1)[plain["rows"]]
            count = len(alone)
            assert torch.equal(targets[:count], plain["targets"])
            torch.testing.assert_close(tree[:count], alone, atol=1e-4, rtol=0)
            tree, targets = tree[count:], targets[count:]
    assert len(tree) == 0


def test_padding_does_not_change_what_a_record_gives(
    base: Path, encoder: Encoder, collator: Collator
) -> None:
    model = load(base)
    short, long = encoder.encode(train_records()[2]), encoder.encode(next(group().expand()))
    with torch.no_grad():
        alone = model(input_ids=collator([short])["input_ids"]).logits[0]
        padded = model(input_ids=collator([short, long])["input_ids"]).logits[0, : short.length]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


def test_two_pictures_with_the_same_text_give_two_batches(
    encoder: Encoder, collator: Collator
) -> None:
    red, blue = (collator([encoder.encode(look(colour))]) for colour in ("red", "blue"))
    assert not torch.equal(red["pixel_values"], blue["pixel_values"])


def test_another_picture_moves_the_loss(base: Path, encoder: Encoder, collator: Collator) -> None:
    model = load(base)
    learn_answers_only(model)
    red = look("red")
    losses = []
    for shown in ("red.png", "blue.png"):
        record = encoder.encode(red.model_copy(update={"images": (shown,)}))
        with torch.no_grad():
            losses.append(read_answers(model, collator([record])).loss.item())
    assert abs(losses[0] - losses[1]) > 1e-4


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=60),
    tokens=st.integers(1, 2000),
    seed=st.integers(0, 9),
)
def test_batches_keep_to_the_budget_and_repeat(lengths: list[int], tokens: int, seed: int) -> None:
    members = list(enumerate(lengths))
    plan = TaskBatches({"fuse": members}, {"fuse": 1.0}, tokens=tokens, count=20, seed=seed)
    drawn = list(plan)
    assert drawn == list(plan)
    assert [{number for number, _ in batch} for batch in drawn] == [{n} for n in range(20)]
    batches = [[record for _, record in batch] for batch in drawn]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= tokens
    assert sorted(n for batch in once(members, tokens) for n in batch) == list(range(len(lengths)))


def test_tasks_get_their_shares_of_the_batches() -> None:
    members: dict[str, list[tuple[int, int]]] = {"fuse": [(0, 5)], "look": [(1, 5)]}
    plan = TaskBatches(members, {"fuse": 3, "look": 1}, tokens=5, count=40, seed=0)
    assert sum(record == 0 for batch in plan for _, record in batch) == 30


def test_a_recipe_names_an_unknown_key() -> None:
    with pytest.raises(RecipeError, match="unknown key 'learning_rat'"):
        Recipe.of({"steps": 1, "learning_rat": 1.0})
    with pytest.raises(RecipeError, match="exactly one of 'minutes' and 'steps'"):
        Recipe.of({})
    with pytest.raises(RecipeError, match="'picture_words' teaches the vision part"):
        Recipe.of({"steps": 1, "lora": {}, "shares": {"picture_words": 1.0}})
    with pytest.raises(RecipeError, match="'best' names 'auc'"):
        Recipe.of({"steps": 1, "best": "auc"})


def test_the_loss_falls_and_every_part_learns(base: Path, images: Path, data: Path) -> None:
    recipe = Recipe(
        steps=12,
        tokens_per_batch=512,
        learning_rate=3e-3,
        muon_rate=0.02,
        log_steps=1,
        shares=SHARES,
        warmup=0.1,
    )
    out = data / "out"
    report = train(recipe, data, picture_files(images), out, base=base)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [line["loss_fuse"] for line in lines if "loss_fuse" in line]
    assert losses[-1] < losses[0]
    assert report.steps == 12
    assert report.dropped == 0
    before, after = weights(base), weights(report.folder)
    same = [key for key, weight in after.items() if torch.equal(weight, before[key])]
    assert same == []


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_list_loss_is_added_to_what_score_groups_teach(
    base: Path, images: Path, data: Path, tmp_path: Path
) -> None:
    first: dict[float, float] = {}
    for weight in (0.0, 0.5, 1.0):
        recipe = Recipe(
            steps=2,
            shares={"score_target": 1.0},
            listwise_weight=weight,
            log_steps=1,
            bf16=False,
        )
        out = tmp_path / f"out-{weight}"
        train(recipe, data, picture_files(images), out, base=base)
        first[weight] = log_of(out)[0]["grad_norm"]
        before, after = weights(base), weights(out / "model")
        assert any(not torch.equal(before[key], after[key]) for key in before)
    # The same group, the same weights: what differs is the list loss.
    assert len(set(first.values())) == 3


def test_the_weight_of_a_branch_says_how_much_its_label_counts(
    base: Path, encoder: Encoder, collator: Collator
) -> None:
    model = load(base)
    learn_answers_only(model)

    def loss(*branches: float) -> float:
        branched = group()
        weighed = [
            branch.model_copy(update={"weight": weight})
            for branch, weight in zip(branched.branches, branches, strict=True)
        ]
        record = branched.model_copy(update={"branches": tuple(weighed)})
        with torch.no_grad():
            return read_answers(model, collator([encoder.encode(record)])).loss.item()

    even = loss(1.0, 1.0, 1.0)
    alone = [loss(*(1.0 if place == row else 1e-9 for place in range(3))) for row in range(3)]
    assert even == pytest.approx(sum(alone) / 3, rel=1e-5)
    assert loss(2.0, 2.0, 2.0) == pytest.approx(even, rel=1e-5)
    assert loss(3.0, 1.0, 1.0) == pytest.approx((3 * alone[0] + alone[1] + alone[2]) / 5, rel=1e-5)
    assert loss(3.0, 1.0, 1.0) != pytest.approx(even, rel=1e-5)


def test_a_label_in_doubt_is_taught_in_part_as_the_other(
    base: Path, encoder: Encoder, collator: Collator
) -> None:
    model = load(base)
    learn_answers_only(model)

    def answers(label: str, doubt: float) -> Answers:
        taught = group([label])
        (branch,) = (each.model_copy(update={"doubt": doubt}) for each in taught.branches)
        record = taught.model_copy(update={"branches": (branch,)})
        with torch.no_grad():
            return read_answers(model, collator([encoder.encode(record)]))

    yes, no, soft = answers("Yes", 0.0), answers("No", 0.0), answers("Yes", 0.25)
    expected = 0.75 * yes.losses[0] + 0.25 * no.losses[0] + 0.1 * yes.losses[1]
    assert yes.losses[0] != pytest.approx(no.losses[0].item(), rel=1e-3)
    assert soft.loss.item() == pytest.approx(expected.item() / 1.1, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "split", "label"),
    [("understand", "Before", "help"), ("score_target", "Item", "Maybe")],
)
def test_the_two_labels_of_a_score_alone_can_be_in_doubt(task: str, split: str, label: str) -> None:
    branch = {"suffix": f"\n{split}: nothing", "label": label, "doubt": 0.2}
    prompt = group().model_dump()["prompt"]
    with pytest.raises(ValidationError, match="in doubt"):
        RecordGroup.model_validate({"task": task, "prompt": prompt, "branches": [branch]})


def test_an_over_long_record_is_dropped_counted_and_listed(
    base: Path, images: Path, data: Path, tmp_path: Path
) -> None:
    write_origins(
        data,
        {
            "train": ["item:red", "item:blue", "item:ball", "user:mia"],
            "validation": ["item:green", "item:kite", "user:ben"],
        },
    )
    recipe = Recipe(steps=1, shares={"look": 1.0}, max_length=100)
    report = train(recipe, data, picture_files(images), tmp_path / "out", base=base)
    lines = [json.loads(line) for line in (tmp_path / "out" / DROPPED).read_text().splitlines()]
    assert report.dropped == len(lines) == 4
    assert [(line["file"], line["line"], line["origin"]) for line in lines] == [
        ("train.jsonl", 3, "item:ball"),
        ("train.jsonl", 4, "user:mia"),
        ("validation.jsonl", 2, "item:kite"),
        ("validation.jsonl", 3, "user:ben"),
    ]
    assert all(line["tokens"] > 100 for line in lines)
