"""What many items would cost is reckoned from what was measured, and from nothing else."""

import sys
from pathlib import Path

import pytest

from bench.cost import (
    ITEMS,
    ROWS,
    Device,
    Model,
    device_seconds,
    items_within,
    main,
    query_milliseconds,
    resident_bytes,
    table,
)

PARTS = {"prompt_tokens": 300.0, "completion_tokens": 50.0, "attended_tokens": 10_000.0}
GROWTH = {
    "value": 1.5,
    "items": 100_000.0,
    "query_milliseconds": 20.0,
    "resident_mib": 400.0,
    "resident_kib_an_item": 2.0,
}


def test_a_gpu_reads_prompts_by_arithmetic_and_writes_by_memory() -> None:
    device = Device("a device", 1e12, 1e9, flops_share=0.5, bandwidth_share=0.5)
    model = Model("a model", 1e6, cache_bytes=100)
    computing = 2 * 1e6 * 300 / 0.5e12
    reading = (2 * 1e6 * 50 / 256 + 100 * 10_000) / 0.5e9
    assert device_seconds(PARTS, device, model) == pytest.approx(computing + reading)


def test_growth_goes_on_as_it_was_at_last() -> None:
    assert query_milliseconds(GROWTH) == pytest.approx(20 * 1.5**2)
    assert query_milliseconds(GROWTH | {"value": 0.8}) == pytest.approx(20)
    more = (ITEMS - 100_000) * 2 * 1024
    assert resident_bytes(GROWTH) == pytest.approx(400 * 2**20 + more)
    size = resident_bytes(GROWTH) / 2**30
    assert items_within(GROWTH, size) == pytest.approx(ITEMS)


def test_what_was_not_measured_names_its_command() -> None:
    text = "\n".join(table({"fuse_ratio": {"value": 0.95, "parts": {}}}))
    for row in ROWS:
        assert f"| {row.what} | not measured yet: `python -m bench --only {row.figure}` | |" in text


def test_every_row_is_made_from_the_parts_of_its_figure() -> None:
    results = {
        "fuse_ratio": {"value": 0.95, "parts": PARTS | {"items_per_second": 25.0}},
        "many_of_raw": {"value": 0.9, "parts": PARTS | {"users_per_second": 1.25}},
        "ingest_time_growth": {
            "value": 1.1,
            "parts": {"microseconds": 900.0, "chroma_microseconds": 360.0, "chroma_kib": 1.5},
        },
        "query_growth": {"value": 1.5, "parts": GROWTH},
    }
    text = "\n".join(table(results))
    assert "not measured yet" not in text
    assert "| describing, on the machine measured | 25.0 items/s | 111 hours |" in text
    assert "| 360 microseconds an item | 1.0 hours, one writer |" in text
    assert "| 1.50 KiB an item | 14.3 GiB |" in text
    assert "| users a second, on the machine measured | 1.25 users/s |" in text


def test_a_folder_that_is_no_home_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.cost", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "give a home that keeps its own catalogue" in capsys.readouterr().err
