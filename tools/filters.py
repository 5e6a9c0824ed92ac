"""Which items may come into a list at all: department, price, values."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from mllm_srec.store.home import Home
from mllm_srec.store.records import Given
from mllm_srec.tools.errors import CannotDo, WrongCall
from mllm_srec.tools.values import item_values, value_of


class ItemFilter(Given):
    """Conditions that an item must meet, all of them.

    Raises:
        WrongCall: They contradict each other, or a value is of the wrong kind.
    """

    refusal: ClassVar[type[Exception]] = WrongCall

    departments: tuple[str, ...] = ()
    """Categories of which the item has one."""
    having: tuple[str, ...] = ()
    """Values that the item must all have: `"red"`, `"cotton"`."""
    without: tuple[str, ...] = ()
    """Values of which the item may have none."""
    min_price: float | None = Field(default=None, ge=0)
    """In the shop's currency; an item without a price meets no condition on it."""
    max_price: float | None = Field(default=None, ge=0)
    exclude: tuple[str, ...] = ()
    """Ids of items that are left out."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        low, high = self.min_price, self.max_price
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_price {low!r} is above max_price {high!r}: swap them")
        return self

    def __and__(self, other: "ItemFilter") -> "ItemFilter":
        """Both conditions; prices and departments of the other one count where it has any."""
        return ItemFilter(
            departments=other.departments or self.departments,
            having=tuple(dict.fromkeys((*self.having, *other.having))),
            without=tuple(dict.fromkeys((*self.without, *other.without))),
            min_price=self.min_price if other.min_price is None else other.min_price,
            max_price=self.max_price if other.max_price is None else other.max_price,
            exclude=tuple(dict.fromkeys((*self.exclude, *other.exclude))),
        )

    @property
    def text(self) -> str:
        """The conditions in words, empty where there are none."""
        parts = [
            *self.departments,
            *self.having,
            *(f"without {value}" for value in self.without),
            "" if self.min_price is None else f"from {self.min_price:.15g}",
            "" if self.max_price is None else f"up to {self.max_price:.15g}",
        ]
        return ", ".join(filter(None, parts))


def allowed_items(home: Home, conditions: ItemFilter) -> frozenset[str] | None:
    """Ids of the items that meet the conditions; None where there are no conditions.

    Raises:
        CannotDo: No item meets them.
    """
    if conditions == ItemFilter():
        return None
    fused = home.catalogue.representations() if conditions.having or conditions.without else {}
    having = frozenset(map(value_of, conditions.having))
    without = frozenset(map(value_of, conditions.without))
    departments = frozenset(map(value_of, conditions.departments))
    found = set()
    for item_id, item in home.catalogue.items().items():
        values = item_values(item, fused.get(item_id))
        if (
            having <= values
            and not without & values
            and (not departments or departments & set(map(value_of, item.categories)))
            and _priced(item.price, conditions)
        ):
            found.add(item_id)
    allowed = frozenset(found - set(conditions.exclude))
    if not allowed:
        raise CannotDo(f"no item here is {conditions.text or 'left'}: ask for less")
    return allowed


def _priced(price: float | None, conditions: ItemFilter) -> bool:
    if conditions.min_price is None and conditions.max_price is None:
        return True
    if price is None:
        return False
    low = 0.0 if conditions.min_price is None else conditions.min_price
    high = float("inf") if conditions.max_price is None else conditions.max_price
    return low <= price <= high
