"""What differs between two values that JSON can hold, place by place."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEYS = ("item_id", "value", "trace_id")
"""Fields that tell the entries of a list apart; other lists are compared place by place."""


class Missing:
    """Stands where one of the two values has nothing."""

    def __repr__(self) -> str:
        """As it is shown."""
        return "nothing"


MISSING = Missing()
Close = Callable[[str, float, float], bool]
"""Whether two numbers at a place count as equal."""


@dataclass(frozen=True, slots=True)
class Change:
    """One place at which two values differ."""

    path: str
    """Such as `candidates[i7].score`; `order` after a list whose entries moved."""
    before: Any
    after: Any

    @property
    def row(self) -> tuple[str, str, str]:
        """The change in words."""
        return self.path, _short(self.before), _short(self.after)

    def to_dict(self) -> dict[str, Any]:
        """The change as plain JSON values; what has nothing is left out."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{n: v for n, v in sides.items() if v is not MISSING}}


def equal(path: str, one: float, other: float) -> bool:
    """Equality of numbers bit for bit; NaN equals itself."""
    return one == other or (math.isnan(one) and math.isnan(other))


def changes(before: Any, after: Any, path: str = "", close: Close = equal) -> Iterator[Change]:
    """Yield the places at which two values differ, in the order of the first.

    Args:
        before: The one.
        after: The other.
        path: Where both stand.
        close: What counts as equal numbers.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        dot = f"{path}." if path else ""
        for name in [*before, *(name for name in after if name not in before)]:
            pair = before.get(name, MISSING), after.get(name, MISSING)
            yield from changes(*pair, f"{dot}{name}", close)
    elif _listed(before) and _listed(after):
        yield from _in_lists(before, after, path, close)
    elif _numeric(before) and _numeric(after):
        if not close(path, float(before), float(after)):
            yield Change(path, before, after)
    elif before != after or type(before) is not type(after):
        yield Change(path, before, after)


def _in_lists(
    before: Sequence[Any], after: Sequence[Any], path: str, close: Close
) -> Iterator[Change]:
    key = _key(before, after)
    if key is None:
        for index in range(max(len(before), len(after))):
            pair = [each[index] if index < len(each) else MISSING for each in (before, after)]
            yield from changes(pair[0], pair[1], f"{path}[{index}]", close)
        return
    one, other = ({str(entry[key]): entry for entry in each} for each in (before, after))
    for name in [*one, *(name for name in other if name not in one)]:
        pair = [one.get(name, MISSING), other.get(name, MISSING)]
        yield from changes(pair[0], pair[1], f"{path}[{name}]", close)
    kept = [name for name in one if name in other]
    moved = [name for name in other if name in one]
    if kept != moved:
        yield Change(f"{path} order", kept, moved)


def _key(before: Sequence[Any], after: Sequence[Any]) -> str | None:
    """The field that names every entry of both lists once."""
    entries = [*before, *after]
    if not entries or not all(isinstance(entry, Mapping) for entry in entries):
        return None
    for key in KEYS:
        if all(key in entry for entry in entries) and all(
            len({str(entry[key]) for entry in each}) == len(each) for each in (before, after)
        ):
            return key
    return None


def _short(value: Any) -> str:
    if isinstance(value, str | Missing):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
