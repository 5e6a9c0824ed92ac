"""Amazon Reviews, of 2014, 2018 and 2023: their rows under the names that ours have."""

from collections.abc import Container, Mapping
from contextlib import suppress
from typing import Any, Literal

from mllm_srec.store import fields
from mllm_srec.store.fields import FieldError

_OF_2018 = {
    "asin": "item_id",
    "reviewerID": "user_id",
    "overall": "rating",
    "unixReviewTime": "timestamp",
    "category": "categories",
}
# There an `asin` is one of the variants of an item.
_OF_2023 = {
    "parent_asin": "item_id",
    "store": "brand",
    "features": "description",
    "main_category": "categories",
}


def names_of(found: Container[str]) -> Mapping[str, str]:
    """Amazon's names of fields to ours; empty where what was found are not fields of Amazon's."""
    if "item_id" in found:
        return {}
    if "parent_asin" in found:
        return _OF_2023
    return _OF_2018 if "asin" in found else {}


def time_unit(found: Container[str]) -> Literal["s", "ms"]:
    """In what the times of a file with such fields are counted."""
    return "ms" if names_of(found) is _OF_2023 else "s"


def renamed_row(values: dict[str, Any]) -> dict[str, Any]:
    """A row under our names, as a row of ours would be; any other row as it is."""
    names = names_of(values)
    if not names:
        return values
    if names is _OF_2023:
        values = _as_in_2018(values)
    renamed = {names.get(name, name): value for name, value in values.items()}
    description = renamed.get("description")
    if isinstance(description, list):
        renamed["description"] = " ".join(part for part in description if isinstance(part, str))
    if isinstance(renamed.get("image"), list):
        # Addresses, which are not followed.
        del renamed["image"]
    return renamed


def _as_in_2018(values: dict[str, Any]) -> dict[str, Any]:
    """A row of 2023 with seconds, a plain price, all texts in one list, and a category."""
    row = dict(values)
    # What is no number is rejected later, as it stands.
    with suppress(FieldError):
        if (milliseconds := fields.number(row, "timestamp")) is not None:
            row["timestamp"] = milliseconds / 1000
    if isinstance(price := row.get("price"), str):
        # "from 12.99" where variants differ, a dash where there is none.
        row["price"] = price.strip(" —").removeprefix("from ")
    description, features = row.get("description"), row.pop("features", None)
    if isinstance(description, list) and isinstance(features, list):
        row["description"] = [*description, *features]
    if department := row.pop("main_category", None):
        row["categories"] = row.get("categories") or department
    return row
