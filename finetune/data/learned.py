"""What log a model was taught from, and what of it was held out.

It is written beside the data, goes on to the run and the model, and keeps an evaluation from asking
a model what it was taught.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mllm_srec.finetune.data.settings import SplitBy, SplitHow
from mllm_srec.llm.engine import ModelError
from mllm_srec.llm.trained import SETTINGS
from mllm_srec.store.home import Home

LEARNED = "learned"
"""Its name in `data.json` and in the settings of a model."""


class Learned(BaseModel):
    """A log, and the split whose training part was learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log: str
    """Hash of who met what in which order."""
    split_by: SplitBy
    targets: int
    min_rating: float | None
    """Lowest rating that is a like."""

    @classmethod
    def of(cls, home: Home, how: SplitHow, min_rating: float | None) -> "Learned":
        """What is learned from a home that is split so."""
        frame = home.catalogue.interactions_frame().select("user_id", "item_id", "position")
        rows = frame.sort("user_id", "position", "item_id").write_csv()
        log = hashlib.sha256(rows.encode()).hexdigest()
        return cls(log=log, split_by=how.split_by, targets=how.targets, min_rating=min_rating)


def learned_by(settings: Mapping[str, Any]) -> Iterator[Learned]:
    """What a model learned from by its settings, and what the models learned that it came from.

    Raises:
        ModelError: The settings say it in another form.
    """
    if (own := settings.get(LEARNED)) is not None:
        try:
            learned = Learned.model_validate(own)
        except ValidationError as error:
            raise ModelError(
                f"{SETTINGS!r} of the model does not say in this version's form what it learned "
                f"from ({LEARNED!r}: {own!r}): export it again, or delete that entry"
            ) from error
        yield learned
    before = settings.get("base_settings")
    if isinstance(before, dict):
        yield from learned_by(before)
