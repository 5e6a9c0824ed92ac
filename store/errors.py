"""What can go wrong in the store: one base, and a kind for each thing a caller does differently.

- StoreError
  - HomeError: the folder is no home, or one of a newer version
  - HomeBusy: another process writes
  - InputError: a file cannot be read, or too much of it is bad
  - BadPicture: one picture is refused; its item stays
  - BadRecord (also a ValueError): an item cannot be as a program made it
  - IndexMismatch: the vectors do not fit; rebuild them
  - ItemGone: an item went away while a run read it; ask again
"""


class StoreError(Exception):
    """Something could not be kept or found; the message names the way out."""


class HomeError(StoreError):
    """The folder is not a home that this version can use."""


class HomeBusy(StoreError):
    """Another process writes to the home; the same call succeeds once it is done."""


class InputError(StoreError):
    """An input file cannot be taken; nothing was written."""


class BadPicture(StoreError):
    """A picture is refused; the message is the reason, fit for the reject file."""


class BadRecord(StoreError, ValueError):
    """Something cannot be kept as a program made it; the message names the values."""


class IndexMismatch(StoreError):
    """The vectors do not fit the model or the stored descriptions; they must be rebuilt."""


class ItemGone(StoreError):
    """An item was deleted or changed while a run read it; the same call takes it as it is now."""
