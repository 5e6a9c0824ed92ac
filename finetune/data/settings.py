"""How many records `srec finetune data` makes, and of what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """How many records of each kind, and where the negatives of the score come from."""

    seed: int = 1
    fuse_per_item: int = 8
    messages: int = 60_000
    """What users say to an assistant; drawn from a grammar, the same for every shop."""
    windows_per_user: int = 6
    profiles_per_user: int = 4
    explanations_per_user: int = 4
    groups_per_user: int = 12
    """Score groups (one beginning with several candidates) of one user."""
    liked_per_group: int = 2
    """Next liked items that a group holds at most: a taste moves on."""
    others_per_group: int = 6
    """Unseen items, drawn by popularity, that stand against them."""
    alike_per_group: int = 1
    """Unseen items besides, that resemble what the user liked before."""
    renamed_users: float = 0.4
    """Share of the users whose items bear other words than the shop's."""
    validation_share: float = 0.05
    """Share of the items and of the users that only measure."""
