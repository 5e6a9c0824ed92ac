"""The rows of other libraries: fitted in their own environment, kept beside the split."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.quality.exchange import Asked, Lists, split_name, vectors_name, write_split
from mllm_srec.finetune.data.splits import Split, sample_cases
from mllm_srec.finetune.evaluation.baselines import TUNING_USERS, Scorer
from mllm_srec.finetune.evaluation.ranking import TUNING_SEED, RankingOptions
from mllm_srec.store.home import Home

FIT = Path(__file__).parent / "peers" / "fit.py"
MODELS = ("bm25", "sasrec", "esasrec")
WITH_VECTORS = ("content", "sasrec-fused")
PEERS = (*MODELS, *WITH_VECTORS)


@dataclass(frozen=True, slots=True)
class Fits:
    """Fits each model once to each split, and reads its lists."""

    home: Path
    out: Path
    python: Path
    """Of the environment of `peers/requirements.txt`."""
    minutes: float
    """Of fitting and tuning, for each model."""
    min_rating: float | None
    options: RankingOptions
    say: Callable[[str], None]
    models: tuple[str, ...]
    """Those of `WITH_VECTORS` only where every item of the home has one."""

    def __call__(self, split: Split) -> Mapping[str, Scorer]:
        """Fit what is missing, and read the lists."""
        asked = Asked(
            validation=sample_cases(
                split.validation, TUNING_USERS, among=split.users, seed=TUNING_SEED
            ),
            test=sample_cases(
                split.test, self.options.users, among=split.users, seed=self.options.seed
            ),
        )
        folder = self.out / split_name(split, asked)
        with Home.open(self.home) as home:
            items = home.catalogue.items()
            vectors = home.representations.vectors(split.item_ids)
        # What was fitted to the vectors of other descriptions is not taken for these.
        described = folder / vectors_name(split.item_ids, vectors)
        places = {name: described if name in WITH_VECTORS else folder for name in self.models}
        for place in dict.fromkeys(places.values()):
            write_split(
                split, asked, place, items=items, vectors=vectors, min_rating=self.min_rating
            )
        for name, place in places.items():
            if not self._fitted(place, name):
                self.say(f"{name}: {self.minutes:g} minutes at most")
                command = [self.python, FIT, name, "--data", place, "--minutes", self.minutes]
                subprocess.run(list(map(str, command)), check=True)
        return {name: Lists.read(place, name, split) for name, place in places.items()}

    def _fitted(self, folder: Path, name: str) -> bool:
        """Whether there are lists that had the same time."""
        if not (folder / f"{name}.parquet").exists():
            return False
        about = json.loads((folder / f"{name}.json").read_text("utf-8"))
        return bool(about["minutes"] == self.minutes)
