"""Rows of a catalogue, and files of them in every format."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

Write = Callable[..., Path]

FULL = {
    "item_id": "A1",
    "title": "Red stroller",
    "brand": "Nordlund",
    "categories": ["Baby", "Strollers"],
    "description": "For the forest.",
    "price": 99.5,
    "keywords": "red, forest",
    "image": "images/1.jpg",
    "colour_of_the_box": "extra columns are not read",
}


def as_csv(path: Path, row: dict[str, Any]) -> Path:
    flat = {key: "|".join(v) if isinstance(v, list) else v for key, v in row.items()}
    pl.DataFrame([flat]).write_csv(path)
    return path


def as_parquet(path: Path, row: dict[str, Any]) -> Path:
    pl.DataFrame([row]).write_parquet(path)
    return path


def as_json(path: Path, row: dict[str, Any]) -> Path:
    path.write_text(json.dumps(row) + "\n\n", encoding="utf-8")
    return path


def as_json_gz(path: Path, row: dict[str, Any]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(json.dumps(row))
    return path
