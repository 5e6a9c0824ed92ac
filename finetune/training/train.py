"""`srec finetune train`: from SFT records to a trained model folder."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig

from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.agent.results import Progress
from mllm_srec.finetune.data.entries import Entry, read_entries
from mllm_srec.finetune.data.records import RecordGroup
from mllm_srec.finetune.output_folder import alone
from mllm_srec.finetune.training.adapters import lora_config
from mllm_srec.finetune.training.best_model import BEST_FILE, BestModel
from mllm_srec.finetune.training.check import OverLong, check_entries, check_tasks, refuse
from mllm_srec.finetune.training.checkpoint_files import require_whole
from mllm_srec.finetune.training.clock import Clock
from mllm_srec.finetune.training.collate import Collator
from mllm_srec.finetune.training.curves import read_curves, write_png
from mllm_srec.finetune.training.encode import Encoded, Encoder
from mllm_srec.finetune.training.meter import Meter, Show, unseen
from mllm_srec.finetune.training.model_folder import MODEL, merged, write_model
from mllm_srec.finetune.training.picture_words import picture_words
from mllm_srec.finetune.training.processes import gather, leads, processes, wait
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.record_pictures import Pictures, PictureSource, load_processor
from mllm_srec.finetune.training.run_settings import (
    OtherRun,
    describe_run,
    require_same_run,
    write_settings,
)
from mllm_srec.finetune.training.speed import compile_layers, keep_memory, narrow_stream
from mllm_srec.finetune.training.start import require_start, take_one_gpu
from mllm_srec.finetune.training.tiny import write_scratch
from mllm_srec.finetune.training.trainer import CHECKPOINTS, LOG, AnswerTrainer
from mllm_srec.finetune.training.whole_folder import PARTIAL, recover_folder
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.llm.transformers_model import load_model
from mllm_srec.store.files import disk_errors

BEST = "best"
FIRST = "first"
"""Folder of the first of two runs, in that of the second."""
SCRATCH = "scratch"
DROPPED = "dropped.jsonl"
CURVES = "loss.png"

# With a time budget the number of steps is not known beforehand; nothing trains so long.
_NO_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run did."""

    folder: Path
    """The trained model as the last step left it; in float32, with LoRA in the type of its base."""
    best: Path | None
    """The model that was best by the recipe's figure, with LoRA its adapters alone; None where none
    is named."""
    steps: int
    tokens: int
    """Real tokens learned from by this process, the shared part of a group once; padding not
    counted."""
    seconds: float
    dropped: int
    """Records longer than `max_length`; `dropped.jsonl` lists them."""
    validation: Mapping[str, float]


def train(
    recipe: Recipe,
    data: Path,
    pictures: PictureSource,
    out: Path,
    *,
    base: Path | None = None,
    resume: bool = False,
    show: Show = unseen,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda stage, done, total: None,
) -> TrainReport:
    """Check the data, train on `train.jsonl`, validate on `validation.jsonl`.

    A recipe with `then` is two runs: the first in `out/first`, the second from its model.

    Args:
        recipe: The settings.
        data: The folder of the two files.
        pictures: Gives the picture of a name.
        out: Folder for checkpoints, log and the trained model (`out/model`).
        base: The model folder to start from; none for a model from scratch.
        resume: Go on from the last checkpoint in `out`, if there is one.
        show: Shows where the run stands.
        say: Told what a person should know.
        progress: Told how many records are checked, before the first step.

    Returns:
        What the run did, of two the second.

    Raises:
        RecordError: The data are faulty, or a task of the recipe has no record.
        RecipeError: Neither or both of `base` and a recipe with `scratch` were given, or the
            model has no layer for the recipe's adapters.
        BrokenCheckpoint: A file of the last checkpoint was cut.
        ModelError: `base` cannot be loaded.
        OtherRun: `out` holds checkpoints, and `resume` is not given or does not fit them; or a
            finished model and nothing to go on from.
        FinetuneError: Another process works in `out`, or nobody may write there.
        Diverged: A loss is not finite any more; the last checkpoint is of an earlier step.
        WriteError: The disk is full; the last checkpoint is whole.
        StoreError: It is, and what did not fit is the log, a list or a picture.
    """
    require_start(recipe, base)
    keep_memory()
    gather()
    if not leads():
        show, say, progress = unseen, lambda line: None, lambda stage, done, total: None
    with alone(out) if leads() else nullcontext():
        return _train(
            recipe, data, pictures, out, base, resume=resume, show=show, say=say, progress=progress
        )


def _train(
    recipe: Recipe,
    data: Path,
    pictures: PictureSource,
    out: Path,
    base: Path | None,
    *,
    resume: bool,
    show: Show,
    say: Callable[[str], None],
    progress: Progress,
) -> TrainReport:
    checkpoint = _checkpoint(out, say, resume=resume)
    entries, unread = read_entries(data)
    refuse([*unread, *check_tasks(entries, recipe)])
    if recipe.then is not None:
        once, first = replace(recipe, then=None), out / FIRST
        told: dict[str, Any] = {"show": show, "say": say, "progress": progress}
        if not (resume and _is_trained(first, once, data, base)):
            if checkpoint is not None:
                raise OtherRun(f"{str(out)!r} holds no first run: start anew in another folder")
            train(once, data, pictures, first, base=base, resume=resume, **told)
        say(f"the second of two runs, from {str(first / MODEL)!r}")
        recipe, base = recipe.then, first / MODEL
    if base is None:
        base = _scratch(recipe, entries["train"], out, fresh=checkpoint is None)
    settings = describe_run(recipe, data, base)
    if checkpoint is not None:
        require_same_run(out, settings)
    checked = check_entries(entries, unread, pictures, base, recipe, progress)
    refuse(checked.faults)
    if leads():
        if checkpoint is None:
            _clear(out)
        write_settings(out, settings)
        _list_dropped(out, checked.over_long)
    wait()
    shown = Pictures(pictures, base)
    encoded = dict(checked.encoded)
    words = Encoder(base, shown).colour_words
    encoded["train"] = [*encoded["train"], *picture_words(encoded["train"], words)]
    clock = Clock(recipe, Clock.elapsed_at(checkpoint))
    meter = Meter(clock, show)
    best = _best(recipe, base, out)
    trainer = _trainer(recipe, base, out, shown, encoded, clock=clock, meter=meter, best=best)
    trainer.train(resume_from_checkpoint=checkpoint)
    metrics = trainer.evaluate()
    if leads():
        write_model(merged(trainer.model), base, out / MODEL)
        write_png(read_curves(out / LOG), out / CURVES)
    wait()
    return TrainReport(
        folder=out / MODEL,
        best=best.folder if best and best.folder.exists() else None,
        steps=trainer.state.global_step,
        tokens=meter.tokens,
        seconds=clock.elapsed,
        dropped=len(checked.over_long),
        validation=metrics,
    )


def _is_trained(out: Path, recipe: Recipe, data: Path, base: Path | None) -> bool:
    """Whether this run came to its end; another one there is refused."""
    if not (out / MODEL).is_dir():
        return False
    require_same_run(out, describe_run(recipe, data, base or out / SCRATCH))
    return True


def _checkpoint(out: Path, say: Callable[[str], None], *, resume: bool) -> str | None:
    """The checkpoint to go on from; a folder of another run is no place for a new one."""
    if leads():
        # What a process left half written when it was killed.
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        # Killed between the two moves of a write, it left what stood there aside.
        for name in (BEST, MODEL):
            recover_folder(out / name)
    wait()
    found: str | None = get_last_checkpoint(str(out))  # type: ignore[no-untyped-call]  # transformers' own
    if found is not None and not resume:
        raise OtherRun(
            f"{str(out)!r} holds {Path(found).name!r} of an earlier run: go on with `--resume`, "
            "or give another folder"
        )
    if found is not None:
        require_whole(Path(found))
    if found is None and (out / MODEL).exists():
        raise OtherRun(
            f"{str(out)!r} holds the model of a run that came to its end, and no checkpoint to go "
            "on from: give another folder, or move that one away"
        )
    if found is None and resume and not (out / FIRST).exists():
        say(f"{str(out)!r} holds no checkpoint to go on from: training starts anew")
    return found


def _clear(out: Path) -> None:
    """Remove what a run without an end left that this one adds to or compares with."""
    (out / LOG).unlink(missing_ok=True)
    (out / BEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(out / BEST, ignore_errors=True)


def _scratch(recipe: Recipe, entries: Sequence[Entry], out: Path, *, fresh: bool) -> Path:
    """The random model that a run starts from; a run that goes on has it already."""
    assert recipe.scratch is not None
    folder = out / SCRATCH
    if fresh and leads():
        write_scratch(folder, list(_texts(entries)), recipe.scratch, seed=recipe.seed)
    wait()
    return folder


def _list_dropped(out: Path, over_long: Sequence[OverLong]) -> None:
    lines = (json.dumps(asdict(each)) + "\n" for each in over_long)
    with disk_errors(out / DROPPED):
        (out / DROPPED).write_text("".join(lines), "utf-8")


def _best(recipe: Recipe, base: Path, out: Path) -> BestModel | None:
    if recipe.best is None:
        return None
    return BestModel(
        recipe.best, out / BEST, lambda model, folder: write_model(model, base, folder)
    )


def _trainer(
    recipe: Recipe,
    base: Path,
    out: Path,
    pictures: Pictures,
    records: Mapping[str, Sequence[Encoded]],
    *,
    clock: Clock,
    meter: Meter,
    best: BestModel | None,
) -> AnswerTrainer:
    processor = load_processor(base)
    model, _ = load_model(base, _base_dtype(recipe))
    model.config.use_cache = False
    pad = processor.tokenizer.pad_token_id
    labels = label_token_ids(ChatTemplate(base), (YES, NO))
    trainer = AnswerTrainer(
        records=records,
        collators={
            "train": Collator(pad, pictures, recipe.augmentation, recipe.listwise_weight > 0),
            "validation": Collator(pad, pictures),
        },
        recipe=recipe,
        clock=clock,
        meter=meter,
        labels=(labels[YES], labels[NO]),
        best=best,
        model=model,
        args=_arguments(recipe, out),
        processing_class=processor,
        peft_config=None if recipe.lora is None else lora_config(recipe.lora, model),
    )
    narrow_stream(trainer.model)
    if recipe.compile:
        # Each run compiles for itself: torch gives up on a function compiled for too many models.
        torch.compiler.reset()
        compile_layers(trainer.model)
    return trainer


def _base_dtype(recipe: Recipe) -> torch.dtype:
    """What holds the weights: those that adapters leave as they are need no more than bfloat16."""
    return torch.bfloat16 if recipe.bf16 and recipe.lora is not None else torch.float32


def _arguments(recipe: Recipe, out: Path) -> SFTConfig:
    cpu = not torch.cuda.is_available()
    arguments = SFTConfig(
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
        # Adapters are for models whose activations fill a GPU; a small one is faster with all kept.
        gradient_checkpointing=recipe.lora is not None,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        save_strategy="no",
        save_total_limit=CHECKPOINTS,
        eval_strategy="no",
        logging_steps=recipe.log_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=not cpu,
        # Of several processes: each takes its own batches, whose task uses a part of the weights.
        accelerator_config={"even_batches": False},
        ddp_find_unused_parameters=True if processes() > 1 else None,
        ddp_backend="gloo" if cpu and processes() > 1 else None,
    )
    take_one_gpu(arguments)
    return arguments


def _texts(entries: Sequence[Entry]) -> Iterator[str]:
    """Every text of the records, the shared ones of a group once."""
    for record in (entry.record for entry in entries):
        if isinstance(record, RecordGroup):
            yield from (turn.text for turn in record.prompt)
            yield from (branch.suffix for branch in record.branches)
        else:
            yield from (turn.text for turn in record.messages)
