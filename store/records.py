"""The things of a shop as typed records: items, interactions, fused descriptions."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mllm_srec.store.errors import BadRecord
from mllm_srec.store.validation import faults

MAX_TITLE = 2_000
"""Characters kept of a title; longer ones are cut and the cut is reported."""

MAX_ID = 200
"""Characters of an id at most."""

DAY_S = 86_400
"""Seconds of a day; times of a log are seconds since 1970-01-01 UTC."""

UNKNOWN = "unknown"
"""What an item is where neither picture nor text says it."""

Text = Annotated[str, Field(min_length=0)]
"""Any text. With a bound pydantic refuses halves of characters, which no database takes."""

MAX_WORD = 80
Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD)]


def _check_name(name: str) -> str:
    if not 1 <= len(name) <= MAX_WORD:
        raise ValueError(f"a name has 1 to {MAX_WORD} characters, not {len(name)}")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
"""A word as a key. Checked in code: as a part of the JSON schema it would be `propertyNames`, which
no grammar that guides an engine knows."""


def folded(value: str) -> str:
    """A value as it is compared and counted: values that differ in capitals alone are one."""
    return value.casefold()


class Spelling:
    """Values, each as it was written first, whatever capitals it has later."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._first: dict[str, str] = {}
        for value in values:
            self(value)

    def __call__(self, value: str) -> str:
        """The value as it was written first, which may be now."""
        return self._first.setdefault(folded(value), value)

    def __contains__(self, value: str) -> bool:
        return folded(value) in self._first


class Record(BaseModel):
    """Base of all records: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Given(Record):
    """What a program makes: values that cannot be are told as its errors are."""

    refusal: ClassVar[type[Exception]] = BadRecord
    """What is raised."""

    # Here, so that type checkers still know the fields of what is derived from it.
    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self.refusal(faults(error)) from error


class Item(Given):
    """One item of the catalogue, as the shop describes it.

    Raises:
        BadRecord: A value cannot be.
    """

    item_id: str = Field(min_length=1, max_length=MAX_ID)
    title: Text = ""
    brand: Text = ""
    categories: tuple[Text, ...] = ()
    description: Text = ""
    keywords: Text = ""
    price: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """In the shop's own currency."""
    picture: str | None = None
    """Content hash of the stored picture (see `pictures`), None without one."""


class Interaction(Record):
    """One thing a user did with one item."""

    user_id: str = Field(min_length=1, max_length=MAX_ID)
    item_id: str
    position: int = Field(ge=0)
    """0, 1, 2, ... in the user's own time order."""
    rating: float | None = None
    timestamp: int | None = None
    """Seconds since 1970-01-01 UTC; None where the log gives an order only."""


class FusedItem(Record):
    """One readable representation of an item: what picture and text say together.

    The answer of the fuse step (MLLM-SRec, step 1b), validated. Attribute names are the model's.
    """

    what: Word
    """What kind of thing it is: `"stroller"`, `"drama film"`, or `"unknown"`."""
    seen: dict[Name, Word] = Field(default_factory=dict, max_length=8)
    """Attributes read off the picture, name to value."""
    told: dict[Name, Word] = Field(default_factory=dict, max_length=10)
    """Attributes stated by the text, name to value."""
    conflicts: dict[Name, Word] = Field(default_factory=dict, max_length=8)
    """Attributes of `seen` that the text contradicts, name to the text's value; the picture is
    trusted."""

    def attributes(self) -> Iterator[tuple[str, str]]:
        """Yield names and values, each value once: `("what", "bib")`, `("colour", "red")`."""
        met = set()
        for name, value in (("what", self.what), *self.seen.items(), *self.told.items()):
            if (key := folded(value)) not in met:
                met.add(key)
                yield name, value

    def facets(self) -> Iterator[str]:
        """Yield the distinct values that describe the item, `what` first: `"red"`, `"cotton"`."""
        for _, value in self.attributes():
            yield value

    @property
    def line(self) -> str:
        """The item in one line: `"stroller: red, striped, sporty; cotton, Nordlund, travel"`."""
        seen, told = ", ".join(self.seen.values()), ", ".join(self.told.values())
        return f"{self.what}: {'; '.join(part for part in (seen, told) if part)}".rstrip(": ")


class Representation(Record):
    """A fused item as the store keeps it."""

    item_id: str
    fused: FusedItem
    fallback: bool = False
    """True where code put a plain form in the place of the model's answer."""
    key: str
    """Content hash of everything the fused description depends on."""
