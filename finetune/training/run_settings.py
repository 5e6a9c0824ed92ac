"""What a run was made of, kept beside its checkpoints and its model."""

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mllm_srec.finetune.data.entries import FILES, read_about
from mllm_srec.finetune.data.learned import LEARNED
from mllm_srec.finetune.data.records import file_hash, prompt_hashes
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.llm.model_files import model_hash
from mllm_srec.llm.trained import SETTINGS, changed_prompts, read_settings
from mllm_srec.store.files import write_private

_FREE = {"minutes", "steps", "checkpoint_minutes", "log_steps", "validation_records", "best"}
"""Keys of a recipe that may change when a run goes on."""


# YAML between two lines of hyphens.
_CARD_HEAD = re.compile(r"---\n(.*?\n)---\n", re.DOTALL)
_LICENCE = re.compile(r"^license: *[\"']?([\w.-]+)", re.MULTILINE)


class OtherRun(FinetuneError):
    """A checkpoint or a model was made of something else than what it shall be used with."""


def describe_run(recipe: Recipe, data: Path, base: Path) -> dict[str, Any]:
    """Recipe, data, prompts, start, its licence and versions of a run, as plain values."""
    return {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "data": {name: file_hash(data / f"{name}.jsonl") for name in FILES},
        "prompts": prompt_hashes(),
        LEARNED: read_about(data).get(LEARNED),
        "base": base.name,
        "base_hash": model_hash(base),
        "base_settings": read_settings(base),
        "license": licence_of(base) or read_settings(base).get("license"),
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
        "python": platform.python_version(),
    }


def licence_of(model: Path) -> str | None:
    """The licence that the card of a model names, as the hub spells it; None where none does."""
    card = model / "README.md"
    if not card.is_file():
        return None
    head = _CARD_HEAD.match(card.read_text("utf-8", errors="replace"))
    found = _LICENCE.search(head[1]) if head else None
    return found[1] if found else None


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Leave the settings of a run in a folder.

    Raises:
        StoreError: The disk is full; the settings that stood there are whole.
    """
    write_private(folder / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())


def require_same_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was begun with other data, prompts or settings.

    Raises:
        OtherRun: Something differs.
        ModelError: The kept settings are broken.
    """
    kept = read_settings(folder)
    if not kept:
        raise OtherRun(
            f"{SETTINGS!r} is missing in {folder.name!r}: nobody knows what its checkpoints were "
            "made with; start anew in another folder"
        )
    differ = [f"prompts/{name}.md" for name in changed_prompts(kept)]
    fixed = {key: kept[key] for key in ("data", "base_hash") if key in kept}
    differ += [key for key, value in fixed.items() if settings[key] != value]
    recipe = settings["recipe"]
    differ += [
        f"recipe key {key!r}"
        for key, value in kept.get("recipe", {}).items()
        if key not in _FREE and recipe.get(key) != value
    ]
    if differ:
        raise OtherRun(
            f"the checkpoints in {folder.name!r} were made with other {', '.join(differ)}: "
            "start anew in another folder, or give back what was there"
        )
