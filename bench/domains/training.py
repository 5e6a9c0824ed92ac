"""One fine-tuning: data, training, and what became of it; resumed where it was killed."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.domains.commands import kept, srec
from mllm_srec.finetune.data.records import file_hash
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.llm.model_files import model_hash

MODEL = "exported"
"""Name of the folder of the model in 16 bits."""
OVERHEAD_MINUTES = 2.5
"""What a run takes besides training: data, the check of all records, loading, measuring."""


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained, and on what."""

    home: Path
    recipe: Path
    base: Path | None
    """The model folder to start from; None for a network from scratch."""
    labels: Path | None = None
    """What annotators said; else the text fields teach."""
    minutes: float | None = None
    """In place of the recipe's."""

    @property
    def settings(self) -> Recipe:
        """The recipe with its minutes."""
        recipe = Recipe.load(self.recipe)
        return recipe if self.minutes is None else recipe.lasting(self.minutes)

    @property
    def asked(self) -> dict[str, Any]:
        """All that the model depends on besides the code."""
        return {
            "recipe": asdict(self.settings),
            "base": None if self.base is None else model_hash(self.base),
            "labels": None if self.labels is None else file_hash(self.labels),
        }

    def run(self, out: Path) -> tuple[Path, Mapping[str, Any]]:
        """Train where this was not done yet; the model's folder, and seconds, steps and figures.

        Args:
            out: Each question has a folder of its own below.
        """
        digest = hashlib.sha256(json.dumps(self.asked, sort_keys=True).encode()).hexdigest()[:8]
        folder = out / digest
        return folder / MODEL, kept(folder / "run.json", self.asked, lambda: self._train(folder))

    def _train(self, folder: Path) -> dict[str, Any]:
        trained = kept(folder / "trained.json", self.asked, lambda: self._trained(folder))
        exported = ("--model", folder / "model", "--out", folder / MODEL, "--name", MODEL)
        # Whether vLLM and transformers agree on such a network is asked of the one that ships.
        srec("finetune", "export", *exported, "--unchecked")
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        return trained

    def _trained(self, folder: Path) -> dict[str, Any]:
        """Kept apart: where the export fails, a finished model is not trained once more."""
        teacher = () if self.labels is None else ("--labels", self.labels)
        data = srec("finetune", "data", *teacher, "--home", self.home, "--out", folder / "sft")
        words: list[str | Path] = ["--data", folder / "sft", "--home", self.home, "--out", folder]
        words += ["--recipe", self.recipe, "--resume"]
        if self.base is not None:
            words += ["--base", self.base]
        if self.minutes is not None:
            words += ["--minutes", str(self.minutes)]
        trained = srec("finetune", "train", *words)
        figures = {name: trained.answer[name] for name in ("seconds", "steps", "validation")}
        return {
            **figures,
            "records": data.answer["tasks"],
            "command_seconds": data.seconds + trained.seconds,
        }
