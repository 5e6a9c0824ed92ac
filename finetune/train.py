"""`srec finetune train`: from SFT records to a trained model folder."""

import ctypes
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig

from mllm_srec.finetune.clock import Clock
from mllm_srec.finetune.collate import (
    Collator,
    Encoded,
    Encoder,
    Pictures,
    PictureSource,
    load_processor,
    picture_words,
)
from mllm_srec.finetune.recipe import Recipe
from mllm_srec.finetune.records import AnyRecord, RecordGroup, file_hash, read_records
from mllm_srec.finetune.tiny import write_scratch
from mllm_srec.finetune.trainer import AnswerTrainer

# With a time budget the number of steps is not known beforehand; nothing trains so long.
_NO_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run did."""

    folder: Path
    """The trained model, in float32, as the last step left it."""
    steps: int
    tokens: int
    """Real tokens learned from, the shared part of a group once; padding not counted."""
    seconds: float
    dropped: int
    """Records longer than `max_length`."""
    validation: Mapping[str, float]


def train(
    recipe: Recipe,
    data: Path,
    pictures: PictureSource,
    out: Path,
    *,
    base: Path | None = None,
    resume: bool = False,
) -> TrainReport:
    """Train on `train.jsonl`, validate on `validation.jsonl`.

    Args:
        recipe: The settings.
        data: The folder of the two files.
        pictures: Gives the picture of a name.
        out: Folder for checkpoints, log and the trained model (`out/model`).
        base: The model folder to start from; none for a model from scratch.
        resume: Go on from the last checkpoint in `out`.

    Raises:
        RecordError: A record cannot be used.
        ValueError: Neither or both of `base` and a recipe with `scratch` were given.
    """
    if (base is None) == (recipe.scratch is None):
        raise ValueError("give a model folder to start from, or a recipe with 'scratch' sizes")
    _keep_memory()
    out.mkdir(parents=True, exist_ok=True)
    records = {name: list(read_records(data / f"{name}.jsonl")) for name in ("train", "validation")}
    if base is None:
        assert recipe.scratch is not None
        base = out / "scratch"
        if not (base / "config.json").exists():
            write_scratch(base, list(_texts(records["train"])), recipe.scratch, seed=recipe.seed)
    shown = Pictures(pictures, base)
    encoded, dropped = _encode(records, Encoder(base, shown), recipe.max_length)
    _write_settings(out, recipe, data, base)
    checkpoint = _last_checkpoint(out) if resume else None
    clock = Clock(recipe, Clock.elapsed_at(checkpoint))
    trainer = _trainer(recipe, base, out, shown, encoded, clock)
    trainer.train(resume_from_checkpoint=checkpoint)
    metrics = trainer.evaluate()
    _save(trainer, base, out / "model")
    return TrainReport(
        folder=out / "model",
        steps=trainer.state.global_step,
        tokens=trainer.tokens,
        seconds=clock.elapsed,
        dropped=dropped,
        validation=metrics,
    )


def _last_checkpoint(out: Path) -> str | None:
    found: str | None = get_last_checkpoint(str(out))  # type: ignore[no-untyped-call]
    return found


def _trainer(
    recipe: Recipe,
    base: Path,
    out: Path,
    pictures: Pictures,
    records: Mapping[str, Sequence[Encoded]],
    clock: Clock,
) -> AnswerTrainer:
    processor = load_processor(base)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    model.config.use_cache = False
    pad = processor.tokenizer.pad_token_id
    trainer = AnswerTrainer(
        records=records,
        collators={
            "train": Collator(pad, pictures, recipe.augmentation),
            "validation": Collator(pad, pictures),
        },
        recipe=recipe,
        clock=clock,
        model=model,
        args=_arguments(recipe, out),
        processing_class=processor,
        peft_config=_lora(recipe),
    )
    _narrow_stream(trainer.model)
    if recipe.compile:
        _compile_layers(trainer.model)
    return trainer


def _arguments(recipe: Recipe, out: Path) -> SFTConfig:
    cpu = not torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(out),
        max_steps=recipe.steps or _NO_LIMIT,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=recipe.max_gradient,
        optim="adamw_torch_fused",
        bf16=recipe.bf16,
        use_cpu=cpu,
        seed=recipe.seed,
        data_seed=recipe.seed,
        gradient_checkpointing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        save_strategy="no",
        save_total_limit=2,
        eval_strategy="no",
        logging_steps=recipe.log_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=not cpu,
    )


def _lora(recipe: Recipe) -> Any:
    if recipe.lora is None:
        return None
    from peft import LoraConfig  # noqa: PLC0415 — slow to import, and most runs need none

    # The language part is called text_model or language_model, the vision part otherwise.
    part = "text_model|language_model" + ("|vision_model|visual" if recipe.lora.vision else "")
    layers = "[qkvo]_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2"
    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=rf".*({part})\..*({layers})",
    )


def _encode(
    records: Mapping[str, Sequence[AnyRecord]], encoder: Encoder, longest: int
) -> tuple[dict[str, list[Encoded]], int]:
    encoded: dict[str, list[Encoded]] = {}
    dropped = 0
    for name, several in records.items():
        made = [encoder.encode(record) for record in several]
        encoded[name] = [record for record in made if record.length <= longest]
        dropped += len(made) - len(encoded[name])
    encoded["train"] += picture_words(encoded["train"])
    return encoded, dropped


def _texts(records: Sequence[AnyRecord]) -> Iterator[str]:
    """Every text of the records, the shared ones of a group once."""
    for record in records:
        if isinstance(record, RecordGroup):
            yield from (turn.text for turn in record.prompt)
            yield from (branch.suffix for branch in record.branches)
        else:
            yield from (turn.text for turn in record.messages)


def _save(trainer: AnswerTrainer, base: Path, folder: Path) -> None:
    model: Any = trainer.model
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.save_pretrained(folder)
    load_processor(base).save_pretrained(folder)
    budget = base / "picture_budget.json"
    if budget.exists():
        (folder / budget.name).write_bytes(budget.read_bytes())


def _write_settings(out: Path, recipe: Recipe, data: Path, base: Path) -> None:
    """Leave beside the checkpoints what the run was made of."""
    settings = {
        "recipe": asdict(recipe),
        "data": {name: file_hash(data / f"{name}.jsonl") for name in ("train", "validation")},
        "base": base.name,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
        "python": platform.python_version(),
    }
    (out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _compile_layers(model: nn.Module) -> None:
    """Compile each layer by itself: they share one compiled function."""
    for module in model.modules():
        if type(module).__name__.endswith(("DecoderLayer", "EncoderLayer")):
            module.compile(dynamic=True)


def _narrow_stream(model: Any) -> None:
    """Let the residual stream be bfloat16 under autocast, as it is in serving.

    Autocast leaves embeddings, and so the whole stream, in float32: twice the memory to move.
    """

    def narrow(module: nn.Module, given: Any, embedded: Tensor) -> Tensor:
        kind = embedded.device.type
        return embedded.to(torch.bfloat16) if torch.is_autocast_enabled(kind) else embedded

    model.get_input_embeddings().register_forward_hook(narrow)


def _keep_memory() -> None:
    """Keep freed memory in the process instead of giving it back to the system.

    The C library maps and unmaps every large tensor, and the page faults of that take a third of
    a step on two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        mmap_max, trim_threshold = -4, -1
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
