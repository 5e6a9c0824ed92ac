"""Whatever a file holds, it is read, rejected row by row, or refused."""

import json
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mllm_srec.store.errors import InputError
from mllm_srec.store.readers import InteractionRow, ItemRow, Reject, read_interactions, read_items
from tests.store.conftest import NOW
from tests.store.rows import FULL, as_parquet

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)

names = st.sampled_from(
    [*FULL, "user_id", "position", "rating", "timestamp", "asin", "parent_asin", "features"]
)

quick = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(rows=st.lists(st.dictionaries(names, anything) | anything, min_size=1, max_size=5))
def test_any_json_is_taken_or_rejected(tmp_path: Path, rows: list[object]) -> None:
    path = tmp_path / "x.jsonl"
    # A list in the first line is taken for a file that is one list, and refused as a whole.
    rows.insert(0, {"item_id": "1"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert len(list(read_items(path))) == len(rows)
    assert len(list(read_interactions(path, now=NOW))) == len(rows)


@quick
@given(
    content=st.binary() | st.text().map(str.encode),
    ending=st.sampled_from(["jsonl", "csv", "parquet", "json.gz"]),
)
@example(content=b'item_id\n"', ending="csv")
@example(content=b"item_id\r1\r2\n3\n", ending="csv")
@example(content=b"item_id\n\x00\n", ending="csv")
@example(content=b"PAR1PAR1PAR1", ending="parquet")
@example(content=b"\x1f\x8b\x08\x00broken", ending="json.gz")
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    for read in (read_items, lambda path: read_interactions(path, now=NOW)):
        try:
            rows = list(read(path))
        except InputError:
            continue
        assert all(isinstance(row, (ItemRow, InteractionRow, Reject)) for row in rows)


@quick
@given(
    changes=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), min_size=1),
    cut=st.integers(0, 50),
)
def test_a_damaged_parquet_file_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    path = as_parquet(tmp_path / "x.parquet", FULL)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content[: len(content) - cut])
    try:
        rows = list(read_items(path))
    except InputError:
        return
    assert all(isinstance(row, (ItemRow, Reject)) for row in rows)
