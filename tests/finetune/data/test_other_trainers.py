"""Records in the forms of other trainers, read by TRL itself where it is the reader."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Image, Sequence, load_dataset
from transformers import AutoModelForImageTextToText
from trl import SFTConfig, SFTTrainer

from mllm_srec.finetune.data.other_trainers import rewrite
from mllm_srec.finetune.data.records import AnyRecord, Record, file_hash
from mllm_srec.finetune.data.settings import Form
from mllm_srec.finetune.data.write import write_split
from mllm_srec.finetune.training.record_pictures import load_processor
from mllm_srec.llm.prompting import render
from tests.finetune.small import fuse, group, look, picture_files, write_pictures, write_small_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    titled = render("fuse", look="none", text="<image> kite")
    hostile = Record.of("fuse", titled, '{"what":"kite"}')
    made: list[AnyRecord] = [look("red"), fuse(), hostile, group()]
    splits: dict[str, list[tuple[str, AnyRecord]]] = {
        "train": [(f"item:{number}", record) for number, record in enumerate(made)],
        "validation": [("item:9", look("blue"))],
    }
    write_split(splits, tmp_path / "sft", seed=0, settings={})
    return tmp_path / "sft"


def rewritten(folder: Path, form: Form) -> list[dict[str, Any]]:
    found = rewrite(folder, form, picture_files(write_pictures(folder.parent / "pictures")))
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    about = json.loads((folder / "data.json").read_text("utf-8"))
    assert about["train"] == found["train"] == len(lines)
    assert about["train_sha256"] == file_hash(folder / "train.jsonl")
    assert about["form"] == form
    assert about["tasks"]["score_target"] == len(group().branches)
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert all((folder / image).is_file() for row in rows for image in row["images"])
    return rows


def test_every_branch_of_a_group_is_a_conversation_of_its_own(folder: Path) -> None:
    rows = rewritten(folder, "sharegpt")
    labels = [row["messages"][-1]["content"] for row in rows if row["task"] == "score_target"]
    assert labels == [branch.label for branch in group().branches]
    assert len(rows) == 3 + len(labels)


def test_in_texts_each_picture_has_one_mark_and_a_catalogue_none(folder: Path) -> None:
    for row in rewritten(folder, "sharegpt"):
        marks = sum(message["content"].count("<image>") for message in row["messages"])
        assert marks == len(row["images"])


def test_llama_factory_is_told_of_both_files_by_their_columns_and_roles(folder: Path) -> None:
    rows = rewritten(folder, "sharegpt")
    datasets = json.loads((folder / "dataset_info.json").read_text("utf-8"))
    assert {each["file_name"] for each in datasets.values()} == {
        "train.jsonl", "validation.jsonl",
    }  # fmt: skip
    for each in datasets.values():
        tags = each["tags"]
        assert set(each["columns"].values()) <= set(rows[0])
        roles = {tags["system_tag"], tags["user_tag"], tags["assistant_tag"]}
        messages = [message for row in rows for message in row[each["columns"]["messages"]]]
        assert {message[tags["role_tag"]] for message in messages} == roles
        assert all(isinstance(message[tags["content_tag"]], str) for message in messages)


def test_trl_trains_on_its_form(folder: Path, tmp_path: Path) -> None:
    rewritten(folder, "trl")
    rows = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    here = rows.map(lambda row: {"images": [str(folder / image) for image in row["images"]]})
    seen = here.filter(lambda row: row["images"]).cast_column("images", Sequence(Image()))
    model = write_small_model(tmp_path / "model")
    trainer = SFTTrainer(
        AutoModelForImageTextToText.from_pretrained(model),
        args=SFTConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=1,
            per_device_train_batch_size=1,
            use_cpu=True,
            bf16=False,
            max_length=None,
            report_to="none",
            gradient_checkpointing=False,
        ),
        train_dataset=seen.remove_columns(["task", "weight"]),
        processing_class=load_processor(model),
    )
    assert trainer.train().training_loss > 0
    # The loss is on the answer alone.
    batch = next(iter(trainer.get_train_dataloader()))
    learned = batch["labels"][batch["labels"] != -100]
    said = load_processor(model).tokenizer.decode(learned, skip_special_tokens=True)
    assert said.strip() == look("red").completion[0].text
