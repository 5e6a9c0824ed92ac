"""What a model of ours was trained with, as the file beside its weights tells."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.prompting import prompt_hash

SETTINGS = "settings.json"
"""Recipe, hashes of data and prompts, base and versions of a training run."""


def read_settings(folder: Path) -> Mapping[str, Any]:
    """The settings that lie in a folder; empty where none do, as with models of other makers.

    Raises:
        ModelError: The file is broken.
    """
    path = folder / SETTINGS
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(
            f"{str(path)!r} is broken ({error}): delete it, or copy it again"
        ) from error
    # A file of that name by another maker says nothing of ours.
    return found if isinstance(found, dict) else {}


def changed_prompts(settings: Mapping[str, Any]) -> list[str]:
    """The tasks whose prompt files are not those that a run was trained with."""
    kept = settings.get("prompts")
    pairs = kept.items() if isinstance(kept, dict) else ()
    return [task for task, digest in pairs if _hash(task) != digest]


def _hash(task: str) -> str | None:
    try:
        return prompt_hash(task)
    except FileNotFoundError:
        return None
