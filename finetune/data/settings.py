"""How many records `srec finetune data` makes, and of what."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Form = Literal["groups", "trl", "sharegpt"]
"""`groups`: ours, what prompts share stands once. `trl`: prompt and completion of typed parts.
`sharegpt`: messages of text with `<image>` in it, for LLaMA-Factory and ms-swift."""

MESSAGES = 300_000
"""So many that the recipe of srec-tiny meets none twice; of 60,000 it learned some by heart."""


SplitBy = Literal["user", "time"]
SplitPart = Literal["validation", "test"]
RankingProtocol = Literal["full", "sampled"]
DayOrder = Literal["published", "shuffled"]


class SplitHow(NamedTuple):
    """How a log is split; the same words as the options of the commands."""

    split_by: SplitBy
    targets: int


USUAL_SPLIT = SplitHow("user", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """How many records of each kind, and where the negatives of the score come from."""

    seed: int = 1
    split: SplitHow = USUAL_SPLIT
    """How the log is split; records are made of the training part alone."""
    users: int = 3_000
    """Users whose records are written, at most."""
    further_users: int = 9_000
    """Users besides these whose picks alone are learned from, for soft labels."""
    fuse_per_item: int = 8
    messages: int = MESSAGES
    """What users say to an assistant; drawn from a grammar, the same for every shop."""
    windows_per_user: int = 6
    profiles_per_user: int = 4
    explanations_per_user: int = 4
    groups_per_user: int = 12
    """Score groups (one beginning with several candidates) of one user."""
    told_groups_per_user: int = 4
    """Score groups of one user that stand on what a model says of the history, where one is given
    to tell it; the others stand on the counted forms."""
    liked_per_group: int = 2
    """Next liked items that a group holds at most: a taste moves on."""
    others_per_group: int = 8
    """Unseen items, drawn by popularity, that stand against them."""
    renamed_users: float = 0.4
    """Share of the users whose items bear other words than the shop's."""
    validation_share: float = 0.05
    """Share of the items and of the users that only measure."""

    def plain(self) -> dict[str, Any]:
        """The settings as `data.json` keeps them."""
        return asdict(self) | {"split": self.split._asdict()}
