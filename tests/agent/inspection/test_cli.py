"""The trace commands, from options to exit codes."""

import json
import shutil
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mllm_srec.agent import deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.cli import trace_app
from mllm_srec.agent.inspection.reading import read_run, read_trace
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.load import Loaded
from mllm_srec.store.home import Home
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore
from tests.agent.shop import MODEL, deploy, scripted


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A home with the traces of three runs, two of them for the same request."""
    path = tmp_path_factory.mktemp("trace") / "home"
    with deploy(path, scripted()) as deployment:
        fuse_missing(deployment)
        users = ("mia", "mia", "ben")
        ids = [Recommender(deployment).recommend(user, k=2).trace_id for user in users]
    return path, ids


def srec(home: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(trace_app, [*arguments, "--home", str(home)])
    return done.exit_code, done.output


def test_diff_exits_0_for_the_same_1_for_different_2_for_trouble(
    home: tuple[Path, list[str]],
) -> None:
    path, (first, again, other) = home
    assert srec(path, "diff", first, again)[0] == 0
    code, text = srec(path, "diff", first, other)
    assert code == 1
    assert "request.user" in text
    assert srec(path, "diff", first, "ffff")[0] == 2


def test_two_runs_of_which_parts_are_missing_cannot_be_told_equal(tmp_path: Path) -> None:
    path = tmp_path / "home"
    with deploy(path, scripted()) as deployment:
        fuse_missing(deployment)
        with TraceStore.open(deployment.home.traces_file) as store:
            write_settings(store, TraceSettings(redact=frozenset({"text"})))
    with deploy(path, scripted()) as private:
        first, again = (Recommender(private).recommend("mia", k=2).trace_id for _ in range(2))
        other = Recommender(private).recommend("ada", k=2).trace_id
    code, text = srec(path, "diff", first, again)
    assert code == 2
    assert "no difference in what is there" in text
    for trace_id in (first, again):
        assert f"missing in {trace_id[:12]}: parts were left out" in text
    assert srec(path, "diff", first, other)[0] == 1


def test_a_run_is_shown_exported_and_replayed(home: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, (first, *_) = home
    code, text = srec(path, "show", first)
    assert code == 0
    assert "Scores" in text
    page = tmp_path / "page.html"
    assert srec(path, "export", first, "--html", str(page))[0] == 0
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    code, text = srec(path, "replay", first)
    assert (code, text.strip()) == (0, "equal, bit for bit")


def test_a_list_its_runs_and_a_page_name_items_by_their_titles(
    home: tuple[Path, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, (first, *_) = home
    with Home.open(path) as opened, TraceStore.open(opened.traces_file) as store:
        output = read_trace(store.spans(first)).run.output
        titles = {each: item.title for each, item in opened.catalogue.items().items()}
    named = ", ".join(f"{titles[each]} {each}" for each in output["items"])
    page = tmp_path / "page.html"
    assert srec(path, "export", first, "--html", str(page))[0] == 0
    assert f"<p>gave <strong>{named}</strong></p>" in page.read_text("utf-8")
    rows = [f'{each}<br><span class="soft">{titles[each]}</span>' for each in output["items"]]
    assert all(row in page.read_text("utf-8") for row in rows)
    assert named in srec(path, "show", first)[1]
    assert named[:12] in srec(path, "list")[1]
    assert srec(path, "list", "--json")[0] == 0
    assert f'"gave": "{named}"' in capfd.readouterr().out
    # What was done can be looked into without the shop.
    without = Path(shutil.copytree(path, tmp_path / "home"))
    (without / "catalogue.sqlite").write_bytes(b"no database" * 999)
    assert srec(without, "list", "--json")[0] == 0
    assert f'"gave": "{", ".join(output["items"])}"' in capfd.readouterr().out


def test_a_run_is_shown_and_exported_with_what_a_neutral_user_would_get(
    home: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, (first, *_) = home
    monkeypatch.setattr(deployment, "load_engine", lambda *_, **__: Loaded(scripted(), None))
    page = tmp_path / "page.html"
    asked = ("--neutral", "--model", str(MODEL))
    assert srec(path, "export", first, "--html", str(page), *asked)[0] == 0
    assert "Against a user of whom nothing is known" in srec(path, "show", first, *asked)[1]
    assert "<h3>Against a user of whom nothing is known</h3>" in page.read_text("utf-8")


def test_a_page_that_cannot_be_written_is_wrong_use(
    home: tuple[Path, list[str]], tmp_path: Path
) -> None:
    path, (first, *_) = home
    for place, why in ((tmp_path, "Is a directory"), (tmp_path / "no" / "page", "No such file")):
        code, text = srec(path, "export", first, "--html", str(place))
        assert code == 2
        assert why in text
    assert list(tmp_path.parent.glob("*.partial")) == []


def test_a_last_write_that_was_cut_off_is_reported(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", scripted()) as deployment:
        with deployment.tracer.run("recommend", user="mia"):
            pass
        log = deployment.home.traces_file.with_name("traces.sqlite-wal")
        shutil.copytree(deployment.home.path, tmp_path / "copy")
    torn = tmp_path / "copy" / "traces" / log.name
    torn.write_bytes(torn.read_bytes()[:-100])
    done = CliRunner().invoke(trace_app, ["list", "--home", str(tmp_path / "copy")])
    assert "the last write to the traces was cut off" in done.stderr
    assert "unfinished" in done.stdout


def test_one_step_is_shown_alone_or_refused(home: tuple[Path, list[str]]) -> None:
    path, (first, *_) = home
    code, text = srec(path, "show", first, "--node", "summarize_preferences:2")
    assert (code, "Scores" in text, "window by window" in text) == (0, False, True)
    with pytest.raises(TraceError, match="no step 'rank': it has load_user"):
        CliRunner().invoke(
            trace_app,
            ["show", first, "--node", "rank", "--home", str(path)],
            catch_exceptions=False,
        )


def test_an_annotation_can_be_listed_by(home: tuple[Path, list[str]]) -> None:
    path, (first, *_) = home
    assert srec(path, "annotate", first, "bad", "the robot again") == (0, "kept: bad\n")
    assert first[:12] in srec(path, "list", "--verdict", "bad")[1]
    assert "the robot again" in srec(path, "show", first)[1]
    assert srec(path, "annotate", first, "note", "it said password: hunter22 here")[0] == 0
    shown = srec(path, "show", first)[1]
    assert "it said password: [secret] here" in shown
    assert "hunter22" not in shown


@pytest.mark.parametrize("arguments", [["annotate", "ab", "goood"], ["list", "--verdict", "goood"]])
def test_a_verdict_that_is_none_is_wrong_use(
    home: tuple[Path, list[str]], arguments: list[str]
) -> None:
    code, text = srec(home[0], *arguments)
    assert code == 2
    for choice in ("goood", "good", "bad", "note"):
        assert f"'{choice}'" in text


def test_settings_are_shown_and_refused_when_they_make_no_sense(
    home: tuple[Path, list[str]],
) -> None:
    path, _ = home
    assert "text, users" in srec(path, "settings", "--redact", "users,text", "--days", "30")[1]
    assert "30" in srec(path, "settings")[1]
    assert "when they start again" not in srec(path, "settings")[1]
    assert "when they start again" in srec(path, "settings", "--days", "20")[1]
    assert srec(path, "settings", "--redact", "none", "--days", "none")[0] == 0
    for wrong in (
        ("--redact", "names"),
        ("--days", "long"),
        ("--days", "-1"),
        ("--otlp-endpoint", "ftp://h"),
    ):
        assert srec(path, "settings", *wrong)[0] == 2


@pytest.mark.parametrize("replacement", ["Yes", "=>No"])
def test_a_replacement_without_both_sides_is_wrong_use(
    home: tuple[Path, list[str]], replacement: str
) -> None:
    path, (first, *_) = home
    assert srec(path, "fork", first, "explain", "--replace", replacement)[0] == 2


def test_a_fork_goes_on_from_a_step_and_shows_what_changed(
    home: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, (first, *_) = Path(shutil.copytree(home[0], tmp_path / "home")), home[1]
    monkeypatch.setattr(deployment, "load_engine", lambda *_, **__: Loaded(scripted(), None))
    state = tmp_path / "state.json"
    state.write_text('{"k": 1}')
    words = "Answer Yes or No.=>Say Yes or No."
    more = ("--state", str(state), "--replace", words)
    code, text = srec(path, "fork", first[:12], "score_targets", *more)
    assert code == 0, text
    assert "Say Yes or No." in " ".join(text.split())
    assert "explain.output.reasons" in text
    with TraceStore.open(path / "traces" / "traces.sqlite") as store:
        forked = read_run(store.recent(1)[0])
    assert forked.parent == f"{first} score_targets"
    assert forked.edits == {"state": {"k": 1}, "replace": [words.split("=>")]}
    assert "forked from" in srec(path, "show", forked.trace_id)[1]
    assert srec(path, "replay", forked.trace_id)[0] == 0


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_state_that_is_no_object_is_wrong_use(
    home: tuple[Path, list[str]], tmp_path: Path, content: str
) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    path, (first, *_) = home
    assert srec(path, "fork", first, "explain", "--state", str(state))[0] == 2


@pytest.mark.parametrize("command", [("prune", "--count", "0"), ("scrub", "mia")])
def test_programs_are_told_how_many_traces_went(
    command: tuple[str, ...],
    home: tuple[Path, list[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = shutil.copytree(home[0], tmp_path / "home")
    srec(path, *command, "--json")
    counted = json.loads(capfd.readouterr().out)
    srec(path, *command, "--json", "--yes")
    done = json.loads(capfd.readouterr().out)
    assert counted == {"traces": done["traces"], "deleted": 0}
    assert done["deleted"] == done["traces"] > 0


def test_nothing_is_deleted_without_yes(home: tuple[Path, list[str]]) -> None:
    path, (first, *_, last) = home
    assert srec(path, "prune")[0] == 2
    assert "would go" in srec(path, "prune", "--count", "1")[1]
    assert srec(path, "scrub")[0] == srec(path, "scrub", "--redact", "names")[0] == 2
    told = srec(path, "scrub", "mia", "--redact", "vectors")[1]
    assert told.startswith("2 would be left without vectors")
    told = srec(path, "scrub", "mia", "--redact", "vectors", "--yes")[1]
    assert told == "2 left without vectors\n"
    assert srec(path, "scrub", "mia")[1].startswith("2 would be deleted")
    assert srec(path, "show", first)[0] == 0
    assert srec(path, "scrub", "mia", "--yes")[1].startswith("2 deleted")
    assert srec(path, "show", last)[0] == 0
    assert "MB now" in srec(path, "compact")[1]
    assert "mia" not in srec(path, "list")[1]
