"""Real sets as homes, what is kept of a protocol, and the tables made of it."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from bench.quality import __main__ as quality
from bench.quality import tables
from bench.quality.real_sets import SETS, take_in
from bench.whole import make_whole
from mllm_srec.agent.deployment import WEIGHTS
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.finetune.data.settings import USUAL_SPLIT
from mllm_srec.finetune.evaluation.metrics import MEASURES
from mllm_srec.finetune.evaluation.ranking import RankingOptions
from mllm_srec.finetune.evaluation.report import Report, Row
from mllm_srec.llm.load import bundled_model, model_hash
from mllm_srec.store.home import Home
from tests.agent.shop import deploy, scripted

ROOT = Path(__file__).parents[2]


def write_films(data: Path) -> None:
    """Three films: one rated and pictured, one rated alone, one pictured alone."""
    folder = data / SETS["films"].folder
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (20, 30), (200, 20, 20)).save(folder / "images" / "1.jpg")
    images = ["images/1.jpg", None, "images/1.jpg"]
    items = {"item_id": ["1", "2", "3"], "title": ["A", "B", "C"], "image": images}
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    log = {"user_id": [1, 1], "item_id": ["1", "2"], "position": [0, 1], "rating": [5.0, 4.0]}
    pl.DataFrame(log).write_parquet(folder / "interactions.parquet")


def test_only_films_with_a_poster_and_a_rating_are_taken(tmp_path: Path) -> None:
    write_films(tmp_path / "data")
    path = take_in(SETS["films"], tmp_path / "data", tmp_path / "out")
    with Home.open(path) as home:
        assert home.catalogue.item_ids() == ["1"]
        assert home.catalogue.interaction_count() == 1
        assert home.catalogue.items()["1"].picture
    # What is there is not made again.
    assert take_in(SETS["films"], tmp_path / "gone", tmp_path / "out") == path


def test_an_interrupted_intake_of_the_shop_is_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Path] = []

    def ingest(home: Path, **given: object) -> None:
        places.append(home)
        home.mkdir(exist_ok=True)
        if len(places) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(quality, "ingest", ingest)
    monkeypatch.setattr(quality, "make_plans", lambda *_: [])
    monkeypatch.setattr(sys, "argv", ["quality", "--out", str(tmp_path)])
    home = tmp_path / "shop" / "home"
    with pytest.raises(KeyboardInterrupt):
        quality.main()
    assert not home.exists()
    # The next call goes on in the same place, and the one after it finds the home.
    assert (quality.main(), quality.main()) == (0, 0)
    assert home.exists()
    assert places == [home.with_name("home.partial")] * 2


def test_a_report_that_could_not_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    kept = tmp_path / "published.json"
    make_whole(kept, lambda file: file.write_text("{}"))

    def broken(file: Path) -> None:
        file.write_text('{"asked": ')
        raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(OSError, match="disk full"):
        make_whole(kept, broken)
    assert kept.read_text() == "{}"


def test_a_set_that_is_not_there_is_skipped_with_a_word(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.quality", "--set", "beauty", "--data", tmp_path],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert "skipped beauty" in done.stderr
    assert "--data" in done.stderr


def test_what_is_finished_is_kept_until_something_else_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with deploy(tmp_path / "home", scripted()):
        pass
    command = ["--home", f"{tmp_path / 'home'}", "--out", f"{tmp_path}", "--peer", "none"]
    monkeypatch.setattr(sys, "argv", ["quality", *command, "--protocol", "published"])
    assert quality.main() == 0
    first = capsys.readouterr()
    assert "best baseline on validation" in first.out
    assert "kept from before" not in first.err
    assert (tmp_path / "shop" / "published.png").exists()
    assert not (tmp_path / "shop" / "time.json").exists()
    assert quality.main() == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "kept from before" in again.err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--users", "1"])
    assert quality.main() == 0
    assert "kept from before" not in capsys.readouterr().err
    shutil.copytree(tmp_path / "home", tmp_path / "other")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--home", str(tmp_path / "other")])
    assert quality.main() == 0
    assert "kept from before" not in capsys.readouterr().err


def test_rows_of_the_graph_are_made_again_for_another_model_or_other_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def evaluate(home: Path, options: RankingOptions, **how: Any) -> Report:
        asked.append(how)
        return report(None)

    monkeypatch.setattr(quality, "evaluate_home", evaluate)
    monkeypatch.setattr(quality, "draw_comparison", lambda *_: None)
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
    command = ["quality", "--home", str(tmp_path / "home"), "--out", str(tmp_path)]
    command += ["--peer", "none", "--protocol", "published", "--graph"]

    def made(*more: str) -> bool:
        before = len(asked)
        monkeypatch.setattr(sys, "argv", [*command, *more])
        assert quality.main() == 0
        return len(asked) > before

    assert made()
    assert not made()
    with Home.open(tmp_path / "home") as home:
        home.write_setting(WEIGHTS, {"weights": {"model": 0.5}})
    assert made()
    assert not made()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert made("--model", str(model), "--engine", "transformers")
    assert (asked[-1]["model"], asked[-1]["engine"]) == (model, "transformers")
    assert not made("--model", str(model), "--engine", "transformers")
    (model / "config.json").write_text('{"other": 1}')
    assert made("--model", str(model), "--engine", "transformers")


class Quality:
    """`python -m bench.quality` on a home, in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch
        with deploy(folder / "home", scripted()):
            pass

    def __call__(self, *more: str) -> int:
        command = ["quality", "--out", str(self.folder), "--home", str(self.folder / "home")]
        self._patch.setattr(sys, "argv", [*command, *more])
        return quality.main()


@pytest.fixture
def unfitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quality:
    """Nothing may be fitted or ranked."""
    monkeypatch.setattr(quality, "evaluate_home", lambda *_, **__: pytest.fail("work was done"))
    return Quality(tmp_path, monkeypatch)


def test_rows_that_need_descriptions_name_the_command_that_makes_them(
    unfitted: Quality, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked, rows in (
        (["--peer", "content", "--peer", "sasrec-fused"], "content, sasrec-fused"),
        (["--graph", "--peer", "none"], "retrieval, full"),
    ):
        assert unfitted(*asked) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"{rows} need items that are described")
        assert f"`srec ingest --home {unfitted.folder / 'home'}` and the files" in said
    monkeypatch.setattr(sys, "argv", ["quality", "--out", str(unfitted.folder), "--graph"])
    assert quality.main() == 1
    command = capsys.readouterr().err.partition("`")[2].partition("`")[0].split()
    assert command[:3] == ["srec", "ingest", "--items"]
    assert Path(command[3]).is_file()
    assert command[-2:] == ["--home", str(unfitted.folder / "shop" / "home")]


def test_rows_without_vectors_are_left_out_of_all_rows_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "evaluate_home", lambda *_, **__: report(None))
    monkeypatch.setattr(quality, "draw_comparison", lambda *_: None)
    asked = Quality(tmp_path, monkeypatch)
    assert asked("--protocol", "published", "--python", sys.executable) == 0
    shown = capsys.readouterr()
    assert "content, sasrec-fused: left out, the home has no vectors" in shown.err
    assert "content, sasrec-fused: left out" in " ".join(shown.out.split())


def test_weights_that_know_a_protocol_are_refused_first(
    unfitted: Quality, capsys: pytest.CaptureFixture[str]
) -> None:
    with deploy(unfitted.folder / "home", scripted()) as deployment:
        fuse_missing(deployment)
        used = {"split": USUAL_SPLIT._asdict(), "model_hash": model_hash(bundled_model())}
        deployment.home.write_setting(WEIGHTS, used)
    assert unfitted("--graph", "--peer", "none") == 1
    said = capsys.readouterr().err
    assert "protocol 'time': the weights" in said
    assert "or ask for `--protocol published` alone" in said
    assert unfitted("--graph", "--peer", "none", "--protocol", "time") == 1
    assert "alone" not in capsys.readouterr().err


def test_the_environment_of_other_libraries_is_asked_for_first(
    unfitted: Quality, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unfitted("--peer", "bm25", "--python", "nowhere/python") == 1
    assert "no 'nowhere/python': rows of other libraries" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (["--protocol", "shuffled"], "shop has published, time"),
        (["--model", "other"], "--model is asked for the rows of --graph alone"),
    ],
)
def test_options_without_an_effect_are_wrong_use(
    unfitted: Quality, capsys: pytest.CaptureFixture[str], asked: list[str], problem: str
) -> None:
    with pytest.raises(SystemExit):
        unfitted(*asked)
    assert problem in capsys.readouterr().err


def row(name: str, value: float, **more: Any) -> Row:
    figures = dict.fromkeys(MEASURES, value)
    bounds = {"ndcg@10_low": value - 0.01, "ndcg@10_high": value + 0.01}
    return Row.model_validate({"name": name, **figures, **bounds, **more})


def report(p: float | None, notes: Sequence[str] = ()) -> Report:
    gain = {"ndcg@10": 0.01, "low": 0.001, "high": 0.02, "p": p} if p is not None else None
    rows = [row("full", 0.06), row("ease", 0.05, full_minus=gain, groups={"cold": {
        "users": 7.0, "ndcg@10": 0.0301}})]  # fmt: skip
    return Report(
        protocol="full", part="test", users=2_000, cases=2_000, items=12_101,
        rows=rows, validation={"ease": 0.055}, baseline="ease", notes=list(notes),
    )  # fmt: skip


def kept(
    folder: Path, name: str, protocol: str, p: float | None, notes: Sequence[str] = ()
) -> None:
    path = folder / name / f"{protocol}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"command": "python -m bench.quality", "date": "2026-01-02"}
    path.write_text(
        json.dumps({"asked": {}, "made": made, "report": report(p, notes).model_dump()})
    )


def test_tables_say_what_the_files_say_and_correct_for_several_sets(tmp_path: Path) -> None:
    kept(tmp_path, "beauty", "shuffled", 0.02)
    kept(tmp_path, "films", "published", 0.03)
    kept(tmp_path, "sports", "shuffled", None)
    text = "\n".join(tables.page(tables.read(tmp_path)))
    assert "### beauty, shuffled" in text
    assert "| **full** | 0.0600 | 0.0600 (0.0500-0.0700) |" in text
    assert "0.0301 (7)" in text
    assert "`python -m bench.quality`, 2026-01-02" in text
    # Two sets were compared: the smaller chance is doubled, the larger cannot be below it.
    assert "| beauty | shuffled | ease | +0.0100 (+0.0010 to +0.0200) | 0.0200 | 0.0400 |" in text
    assert "| films | published | ease | +0.0100 (+0.0010 to +0.0200) | 0.0300 | 0.0400 |" in text
    assert "sports | shuffled | ease" not in text
    assert "over the 2 sets of this table; `full` is not measured on sports, microlens." in text


def test_tables_tell_what_a_reader_has_to_know(tmp_path: Path) -> None:
    kept(tmp_path, "beauty", "shuffled-once", None, ["content: left out"])
    text = "\n".join(tables.page(tables.read(tmp_path)))
    assert "\n- content: left out\n" in text
    assert "Holm" not in text


def test_nothing_finished_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tables", str(tmp_path)])
    assert tables.main() == 1
    assert "nothing is finished" in capsys.readouterr().err
