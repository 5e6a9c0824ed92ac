"""A trained model as a folder to ship: bfloat16 weights, tokenizer, processor, card."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from mllm_srec.finetune.collate import load_processor
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.llm.pictures import load_budget, save_budget

LABELS = ("Yes", "No")


class ExportError(RuntimeError):
    """A model cannot be exported; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written."""

    folder: Path
    parameters: int
    bytes: int
    """Of all files together."""


def export(
    model_path: Path,
    folder: Path,
    *,
    name: str,
    figures: Mapping[str, float] | None = None,
    notes: str = "",
    max_bytes: int | None = None,
) -> ExportReport:
    """Write a trained model in 16 bits, with all that serving needs and a card.

    Args:
        model_path: A folder that training wrote; adapters are merged there already.
        folder: Made when missing; files in it are replaced.
        name: For the card.
        figures: For the card's table, name to value.
        notes: For the card: what it was trained on, what it cannot do.
        max_bytes: Refuse to end with more.

    Raises:
        ExportError: A label is not one token, weights are not finite, or the folder is too large.
        ModelError: The folder is no model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForImageTextToText.from_pretrained(model_path, dtype=torch.bfloat16)
    broken = [key for key, weight in model.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise ExportError(f"weights of {broken[0]!r} are not finite: train with a lower rate")
    model.save_pretrained(folder)
    load_processor(model_path).save_pretrained(folder)
    save_budget(folder, load_budget(model_path))
    _keep_extras(model_path, folder)
    label_token_ids(ChatTemplate(folder), LABELS)
    parameters = sum(weight.numel() for weight in model.parameters())
    (folder / "README.md").write_text(_card(name, parameters, figures or {}, notes), "utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if max_bytes is not None and size > max_bytes:
        raise ExportError(f"{size} bytes in {folder.name!r}, at most {max_bytes}: make it smaller")
    return ExportReport(folder, parameters, size)


def _keep_extras(source: Path, folder: Path) -> None:
    """Bring along what training or `combine` left beside the weights for serving."""
    for name in ("token_frequencies.json", "calibration.json"):
        if (source / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())


def _card(name: str, parameters: int, figures: Mapping[str, float], notes: str) -> str:
    rows = "".join(f"| {key} | {value:.4g} |\n" for key, value in figures.items())
    table = f"\n| figure | value |\n| --- | --- |\n{rows}" if figures else ""
    head = json.dumps(["image-text-to-text", "recommendation"])
    return (
        f"---\nlicense: apache-2.0\npipeline_tag: image-text-to-text\ntags: {head}\n---\n\n"
        f"# {name}\n\n{parameters / 1e6:.2f} million parameters, bfloat16.\n\n{notes}\n{table}"
    )
