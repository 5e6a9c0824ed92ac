"""SFT records in the forms that other trainers read, with their pictures as files.

Our own form keeps what prompts share once (`RecordGroup`). Others want one conversation a line.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mllm_srec.finetune.data.entries import ABOUT, FILES, ORIGINS
from mllm_srec.finetune.data.records import (
    AnyRecord,
    Record,
    RecordGroup,
    Turn,
    file_hash,
    read_records,
)
from mllm_srec.finetune.data.settings import Form
from mllm_srec.finetune.output_folder import all_at_once

IMAGES = "images"
DATASETS = "dataset_info.json"
"""How LLaMA-Factory is told of the two files, where the folder is its `dataset_dir`."""
_MARK = "<image>"
_ROLES = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def rewrite(folder: Path, form: Form, picture: Callable[[str], Image.Image]) -> dict[str, Any]:
    """Bring a folder that `write_data` made into another form; its hashes follow.

    Args:
        folder: Pictures go to `folder/images`, and are named by paths from the folder.
        form: What is wanted.
        picture: Gives the picture of a name.

    Returns:
        How many lines each file has now, its hash, and the tasks of `train`.

    Raises:
        StoreError: The disk is full; the folder is as `write_data` made it.
    """
    found: dict[str, Any] = {}
    with all_at_once(folder, last=ABOUT) as partial:
        for name in FILES:
            records = each_alone(read_records(folder / f"{name}.jsonl"))
            rows = [row_of(record, form) for record in records]
            for image in {image for row in rows for image in row["images"]}:
                target = folder / image
                target.parent.mkdir(exist_ok=True)
                picture(target.stem).convert("RGB").save(target)
            path = partial / f"{name}.jsonl"
            path.write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8"
            )
            found |= {name: len(rows), f"{name}_sha256": file_hash(path)}
            if name == "train":
                found["tasks"] = dict(sorted(Counter(row["task"] for row in rows).items()))
        if form == "sharegpt":
            (partial / DATASETS).write_text(json.dumps(_datasets(), indent=2) + "\n", "utf-8")
        # Soft labels are of use to our own trainer alone.
        found["soft_labels"] = None
        about = json.loads((folder / ABOUT).read_text("utf-8")) | found | {"form": form}
        (partial / ABOUT).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    # The lines are others now.
    (folder / ORIGINS).unlink()
    return found


def _datasets() -> dict[str, Any]:
    """Each file as LLaMA-Factory reads it."""
    return {
        name: {
            "file_name": f"{name}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": _ROLES,
        }
        for name in FILES
    }


def each_alone(records: Iterable[AnyRecord]) -> Iterator[Record]:
    """Yield plain records; every branch of a group is one."""
    for record in records:
        if isinstance(record, RecordGroup):
            yield from record.expand()
        else:
            yield record


def row_of(record: Record, form: Form) -> dict[str, Any]:
    """One line of a file."""
    if form == "trl":
        # Of `messages` TRL would learn the prompt as well.
        said = {
            "prompt": _said(record.prompt, _typed),
            "completion": _said(record.completion, _typed),
        }
    else:
        said = {"messages": _said(record.messages, _marked)}
    return {
        **said,
        "images": [f"{IMAGES}/{image}.png" for image in record.images],
        "task": record.task,
        "weight": record.weight,
    }


def _said(turns: Iterable[Turn], content: Callable[[Turn], Any]) -> list[dict[str, Any]]:
    return [{"role": turn.role, "content": content(turn)} for turn in turns]


def _typed(turn: Turn) -> list[dict[str, Any]]:
    return [part.model_dump() for part in turn.content]


def _marked(turn: Turn) -> str:
    # The text of a catalogue asks for no picture.
    return _MARK * turn.pictures + turn.text.replace(_MARK, "< image>")
