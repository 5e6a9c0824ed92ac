"""A model in training, written as a folder that the engines and `export` read."""

from pathlib import Path
from typing import Any

from mllm_srec.finetune.training.record_pictures import load_processor
from mllm_srec.finetune.training.whole_folder import whole_folder
from mllm_srec.llm.pictures import BUDGET_FILE
from mllm_srec.llm.trained import SETTINGS

MODEL = "model"
"""Name of the folder, in that of a run, of the model as the last step left it."""


def write_model(model: Any, base: Path, folder: Path) -> None:
    """Write weights, or the adapters alone where there are some, and what belongs to them.

    Args:
        model: What is trained.
        base: The folder that training started from: its processor and picture budget are kept.
        folder: Beside the settings of the run, which are kept as well.

    Raises:
        WriteError: The disk is full.
    """
    with whole_folder(folder) as partial:
        model.config.use_cache = True
        model.save_pretrained(partial)
        model.config.use_cache = False
        load_processor(base).save_pretrained(partial)
        for path in (base / BUDGET_FILE, folder.parent / SETTINGS):
            if path.exists():
                (partial / path.name).write_bytes(path.read_bytes())


def merged(model: Any) -> Any:
    """The model with its adapters, if any, added to its weights."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
