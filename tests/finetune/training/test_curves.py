"""What a person sees of a run: lines while it goes, curves at its end."""

import json
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from mllm_srec.finetune.training.curves import BLOCKS, blocks, curve_table, read_curves, write_png
from mllm_srec.finetune.training.meter import Standing
from mllm_srec.finetune.training.progress import PlainLines, duration, view, watched

STANDING = Standing(1200, 0.25, 12345.6, 3900.0, {"look": 0.125, "fuse": 0.5})


def write_log(path: Path) -> Path:
    lines: list[dict[str, float]] = [
        {"step": 10, "loss_look": 8.0, "loss_fuse": 4.0},
        {"step": 20, "loss_look": 2.0},
        {"step": 20, "eval_look_loss": 3.0, "eval_look_right_answers": 0.5},
        {"step": 20, "loss_look": 1.0},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_log_gives_a_curve_for_every_task_and_the_last_time_of_a_step_counts(
    tmp_path: Path,
) -> None:
    assert read_curves(write_log(tmp_path / "log.jsonl")) == {
        ("fuse", "training"): [(10, 4.0)],
        ("look", "training"): [(10, 8.0), (20, 1.0)],
        ("look", "validation"): [(20, 3.0)],
    }


def test_a_line_that_was_cut_when_the_disk_was_full_is_left_out(tmp_path: Path) -> None:
    whole = read_curves(write_log(tmp_path / "log.jsonl"))
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 30, "loss_lo{"step": 40, "loss_look": 0.5}\n')
        log.write('{"step": 50, "loss_fuse": 0.5}\n{"step": 6')
    assert read_curves(tmp_path / "log.jsonl") == {
        **whole,
        ("fuse", "training"): [(10, 4.0), (50, 0.5)],
    }


def test_a_run_that_logged_nothing_has_an_empty_picture(tmp_path: Path) -> None:
    write_png({}, tmp_path / "loss.png")
    with Image.open(tmp_path / "loss.png") as image:
        assert image.format == "PNG"


def test_a_falling_loss_is_a_falling_line() -> None:
    line = blocks([(step, 100 / step) for step in range(1, 200)], width=20)
    assert len(line) == 20
    assert [BLOCKS.index(block) for block in line] == sorted(map(BLOCKS.index, line), reverse=True)
    assert (line[0], line[-1]) == (BLOCKS[-1], BLOCKS[0])


@given(st.dictionaries(st.integers(0, 10**6), st.floats(), min_size=1))
def test_any_curve_can_be_shown(points: dict[int, float]) -> None:
    assert len(blocks(sorted(points.items()))) == min(24, sum(map(math.isfinite, points.values())))


def test_the_curves_are_shown_and_drawn(tmp_path: Path) -> None:
    curves = read_curves(write_log(tmp_path / "log.jsonl"))
    console = Console(width=80)
    with console.capture() as shown:
        console.print(curve_table(curves))
    assert [line.split() for line in shown.get().splitlines()] == [
        ["fuse", "training", "4", "▁", "4"],
        ["look", "training", "8", "█▁", "1"],
        ["look", "validation", "3", "▁", "3"],
    ]
    write_png(curves, tmp_path / "loss.png")
    with Image.open(tmp_path / "loss.png") as image:
        assert image.format == "PNG"
        assert image.width > 300


def test_a_run_nobody_watches_is_told_in_lines_some_seconds_apart() -> None:
    said: list[str] = []
    times = iter([0.0, 1.0, 4.9, 5.1, 6.0])
    lines = PlainLines(said.append, clock=lambda: next(times))
    for _ in range(5):
        lines(STANDING)
    line = "step 1,200, 12,346 tokens/s, 1 h 05 min left: fuse 0.5, look 0.125"
    assert said == [line, line]


def test_a_terminal_gets_a_bar_and_a_file_gets_lines() -> None:
    said: list[str] = []
    with watched(Console(force_terminal=False), said.append) as show:
        show(STANDING)
    assert len(said) == 1
    console = Console(force_terminal=True, width=100, color_system=None)
    with console.capture() as shown:
        console.print(view(STANDING))
    assert "━" in shown.get()
    assert "step 1,200" in shown.get()


def test_durations_read_well() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3540, 3900)] == [
        "0 s", "59 s", "1 min", "59 min", "1 h 05 min"
    ]  # fmt: skip
