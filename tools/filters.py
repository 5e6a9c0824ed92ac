"""Which items may come into a list at all: department, price, values."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import ClassVar, Self

from pydantic import Field, model_validator

from mllm_srec.store.home import Home
from mllm_srec.store.records import Given, Item
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
        unwanted = frozenset(map(value_of, self.without))
        if both := [value for value in self.needed if value_of(value) in unwanted]:
            raise ValueError(f"{both[0]!r} is asked for and in without: take it out of one")
        return self

    @property
    def needed(self) -> tuple[str, ...]:
        """Values that every item has which meets the conditions."""
        return (*self.having, *(self.departments if len(self.departments) == 1 else ()))

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
            "" if self.min_price is None else _from(self.min_price),
            "" if self.max_price is None else _up_to(self.max_price),
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
    found, excluded = set(), set(conditions.exclude)
    # Items that fail one condition alone, by what it is.
    failing: defaultdict[str, list[Item]] = defaultdict(list)
    tests = _tests(conditions)
    for item_id, item in home.catalogue.items().items():
        values = item_values(item, fused.get(item_id))
        unmet = [condition for condition, meets in tests.items() if not meets(item, values)]
        if not unmet:
            found.add(item_id)
        elif len(unmet) == 1 and item_id not in excluded:
            failing[unmet[0]].append(item)
    allowed = frozenset(found - excluded)
    if not allowed:
        if not conditions.text:
            raise CannotDo("no item here is left: ask for less")
        which, way_out = "other item" if found else "item", _way_out(failing, conditions)
        raise CannotDo(f"no {which} here is {conditions.text}: {way_out}")
    return allowed


def _tests(conditions: ItemFilter) -> dict[str, Callable[[Item, Set[str]], bool]]:
    """Whether an item with some values meets each condition, in the words of `ItemFilter.text`."""
    low, high = conditions.min_price, conditions.max_price
    departments = set(map(value_of, conditions.departments))
    tests: dict[str, Callable[[Item, Set[str]], bool]] = {}
    for word in conditions.having:
        tests[word] = partial(_is, value_of(word))
    for word in conditions.without:
        tests[f"without {word}"] = partial(_is_not, value_of(word))
    if departments:
        either = " or ".join(conditions.departments)
        tests[either] = lambda item, _: not departments.isdisjoint(map(value_of, item.categories))
    if low is not None:
        tests[_from(low)] = lambda item, _: item.price is not None and item.price >= low
    if high is not None:
        tests[_up_to(high)] = lambda item, _: item.price is not None and item.price <= high
    return tests


def _is(value: str, _: Item, values: Set[str]) -> bool:
    return value in values


def _is_not(value: str, _: Item, values: Set[str]) -> bool:
    return value not in values


def _way_out(failing: Mapping[str, Sequence[Item]], conditions: ItemFilter) -> str:
    """What to ask for instead, by the condition that most items fail alone."""
    if not failing:
        return "ask for less"
    condition, items = max(failing.items(), key=lambda each: len(each[1]))
    prices = [item.price for item in items if item.price is not None]
    if prices and conditions.max_price is not None and condition == _up_to(conditions.max_price):
        return f"the cheapest costs {min(prices):.2f}"
    if prices and conditions.min_price is not None and condition == _from(conditions.min_price):
        return f"the dearest costs {max(prices):.2f}"
    return f"leave out “{condition}”, and there {'is' if len(items) == 1 else 'are'} {len(items)}"


def _from(price: float) -> str:
    return f"from {price:.15g}"


def _up_to(price: float) -> str:
    return f"up to {price:.15g}"
