"""A trained model as a folder to ship: bfloat16 weights, tokenizer, processor, card."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig

from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.model_folder import MODEL
from mllm_srec.finetune.training.parity import Parity, check_parity
from mllm_srec.finetune.training.record_pictures import load_processor
from mllm_srec.finetune.training.run_settings import licence_of
from mllm_srec.finetune.training.whole_folder import recover_folder, whole_folder
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.llm.model_files import ADAPTERS, model_hash, resolve_model
from mllm_srec.llm.pictures import load_budget, save_budget
from mllm_srec.llm.trained import SETTINGS, changed_prompts, read_settings
from mllm_srec.llm.transformers_model import load_model
from mllm_srec.tools.ranking import CALIBRATION, Calibration

_EXTRAS = ("token_frequencies.json", CALIBRATION, SETTINGS)
"""What training or `combine` left beside the weights, for serving and recording provenance."""


class ExportError(FinetuneError):
    """A model cannot be exported; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written."""

    folder: Path
    parameters: int
    bytes: int
    """Of all files together."""
    license: str | None
    """What the card says, which is what the base's card said; None where that said nothing."""
    parity: Parity | None
    """How far vLLM and transformers are apart; None where that was not checked."""


def export(
    model_path: Path,
    folder: Path,
    *,
    name: str | None = None,
    calibration: Calibration | None = None,
    max_bytes: int | None = None,
    parity: Callable[[Path], Parity] | None = check_parity,
) -> ExportReport:
    """Write a trained model in 16 bits, with all that serving needs and a card.

    It takes the place of what stood in the folder only when vLLM and transformers agree on it.

    Args:
        model_path: A folder that training wrote: a model, or adapters, which are merged.
        folder: Made when missing; a model that stands there is replaced.
        name: For the card; that of the folder by default.
        calibration: What its logits mean, as `combine` fitted it; ships with the model.
        max_bytes: Refuse to end with more.
        parity: Compares the engines on the new folder; None to leave that out.

    Raises:
        ExportError: The model is not what can be shipped; the former export stands as it was.
        ParityError: An engine cannot load it, or the two differ.
        WriteError: The disk is full.
        ModelError: The folder is no model, or a label is not one token.
    """
    name = name or folder.resolve().name
    recover_folder(folder)
    _check_places(model_path, folder)
    model = _load(model_path)
    licence = _licence(model_path)
    broken = [key for key, weight in model.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise ExportError(f"weights of {broken[0]!r} are not finite: train with a lower rate")
    parameters = sum(weight.numel() for weight in model.parameters())
    label_token_ids(ChatTemplate(model_path), (YES, NO))
    with whole_folder(folder) as partial:
        model.save_pretrained(partial)
        load_processor(model_path).save_pretrained(partial)
        save_budget(partial, load_budget(model_path))
        _keep_extras(model_path, partial, calibration)
        _check_size(name, partial, max_bytes)  # now, as parity takes minutes; the card is small
        found = None if parity is None else parity(partial)
        card = _card(name, licence, parameters, found)
        (partial / "README.md").write_text(card, "utf-8")
        size = _check_size(name, partial, max_bytes)
    return ExportReport(folder, parameters, size, licence, found)


def _check_size(name: str, folder: Path, max_bytes: int | None) -> int:
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if max_bytes is not None and size > max_bytes:
        raise ExportError(
            f"{name!r} takes {size / 2**20:,.2f} MiB, at most {max_bytes / 2**20:,.2f} are "
            "wanted: raise --max-mib, or train a smaller model"
        )
    return size


def _check_places(model_path: Path, folder: Path) -> None:
    if (model_path / "trainer_state.json").exists():
        raise ExportError(
            f"{model_path.name!r} is a state to go on from (`--resume`), not a model: export the "
            "folder 'model' or 'best' beside it"
        )
    if folder.resolve() == model_path.resolve() and _is_wider(model_path):
        raise ExportError(
            f"{str(folder)!r} is the model itself, in more than 16 bits: give another folder, so "
            "that it stays"
        )
    if (model_path / MODEL / "config.json").exists():
        raise ExportError(
            f"{str(model_path)!r} is the folder of a run: export {str(model_path / MODEL)!r}, or "
            "'best' beside that"
        )
    stale = [f"prompts/{task}.md" for task in changed_prompts(read_settings(model_path))]
    if stale:
        raise ExportError(
            f"{model_path.name!r} was trained with another version of {', '.join(stale)}: "
            "train again with the present prompts, or give back those"
        )
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{str(folder)!r} is a file: give --out a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise ExportError(f"{str(folder)!r} is not empty and no model: give another folder")


def _is_wider(model_path: Path) -> bool:
    config = model_path / "config.json"
    return config.exists() and AutoConfig.from_pretrained(model_path).dtype == torch.float32


def _load(model_path: Path) -> Any:
    """The model in bfloat16; adapters are merged in float32, into the base they were made for."""
    base = _base(model_path)
    if base is None:
        return _weights(resolve_model(model_path), torch.bfloat16)
    from peft import PeftModel  # noqa: PLC0415 — slow to import, and few models need it

    wanted = read_settings(model_path).get("base_hash")
    if wanted is not None and wanted != model_hash(base):
        raise ExportError(
            f"the model in {str(base)!r} is not the one that the adapters in {model_path.name!r} "
            "were trained on: put that back"
        )
    try:
        model: Any = PeftModel.from_pretrained(_weights(base, torch.float32), model_path)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ExportError(
            f"the adapters in {str(model_path)!r} cannot be put on {str(base)!r} ({error}): train "
            "them again, or give back the files that are missing"
        ) from error
    return model.merge_and_unload().to(torch.bfloat16)


def _base(model_path: Path) -> Path | None:
    """The model that adapters were made for; None where the folder holds no adapters."""
    path = model_path / ADAPTERS
    if not path.exists():
        return None
    try:
        base = json.loads(path.read_bytes())["base_model_name_or_path"]
    except (ValueError, KeyError) as error:
        raise ExportError(f"{str(path)!r} is broken: train the adapters again") from error
    try:
        return resolve_model(base)
    except ModelError as error:
        raise ExportError(
            f"the adapters in {model_path.name!r} were trained on {base!r}, which is no longer "
            "there: put that model back"
        ) from error


def _licence(model_path: Path) -> str | None:
    """The licence of what training started from, else of the model's own card."""
    base = _base(model_path)
    kept: str | None = read_settings(model_path).get("license")
    return kept or (licence_of(base) if base else None) or licence_of(model_path)


def _weights(path: Path, dtype: torch.dtype) -> Any:
    model, _ = load_model(path, dtype)
    return model


def _keep_extras(source: Path, folder: Path, calibration: Calibration | None) -> None:
    for name in _EXTRAS:
        if (source / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())
    if calibration is not None:
        (folder / CALIBRATION).write_text(calibration.model_dump_json(indent=2) + "\n", "utf-8")


def _card(name: str, licence: str | None, parameters: int, parity: Parity | None) -> str:
    head = json.dumps(["image-text-to-text", "recommendation"])
    stated = f"license: {licence}\n" if licence else ""
    checked = (
        "Not checked against the serving engine."
        if parity is None
        else f"vLLM and transformers agree within {parity.float32:.2g} nats (float32) and "
        f"{parity.bfloat16:.2g} (bfloat16) on 50 prompts."
    )
    return (
        f"---\n{stated}pipeline_tag: image-text-to-text\ntags: {head}\n---\n\n"
        f"# {name}\n\n{parameters / 1e6:.2f} million parameters, bfloat16. {checked}\n"
    )
