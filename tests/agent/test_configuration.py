"""`srec config`: what holds, and where it comes from."""

import ast
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mllm_srec.agent.cli import main
from mllm_srec.agent.configuration import configuration, settings_table
from mllm_srec.store.errors import HomeError
from mllm_srec.store.home import Home
from mllm_srec.store.home_settings import HomeSettings
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore

ROOT = Path(__file__).parents[2]
NOT_CHOSEN = {"TERM", "TMUX", "RANK", "WORLD_SIZE", "VLLM_API_KEY"}
"""What a terminal, the launcher of a training, or `srec serve` says of itself."""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in configuration(Path("/nowhere"), home_source="--home"):
        for name in setting.set_by:
            if name.isupper():
                monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["srec", "config", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return call


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def values(home: Path) -> dict[str, tuple[Any, str]]:
    found = configuration(home, home_source="--home")
    return {each.name: (each.value, each.source) for each in found}


def test_what_nobody_chose_is_a_default_and_no_home_is_made(tmp_path: Path) -> None:
    found = values(tmp_path / "none")
    assert {source for _, source in found.values()} == {"default", "--home"}
    assert found["home"] == (str(tmp_path / "none"), "--home")
    assert found["engine"] == ("auto", "default")
    assert found["model"] == ("srec-tiny", "default")
    assert found["database_url"] == found["trace_days"] == (None, "default")
    assert not (tmp_path / "none").exists()


def test_every_field_of_the_files_is_listed(tmp_path: Path) -> None:
    names = {*HomeSettings.model_fields, *(f"trace_{name}" for name in TraceSettings.model_fields)}
    assert names <= set(values(tmp_path))


def test_the_file_of_a_home_is_read_before_the_home_is_made(home: Path) -> None:
    (home / "srec.toml").write_text('model = "~/mine"\nchroma_url = "http://chroma:8000"\n')
    found = values(home)
    assert found["model"] == ("~/mine", "srec.toml")
    assert found["chroma_url"] == ("http://chroma:8000", "srec.toml")
    assert list(home.iterdir()) == [home / "srec.toml"]


@pytest.mark.parametrize("password", ["hunter2", "hun/ter2", "hunter2%40"])
@pytest.mark.parametrize("form", ["u:{}@h/d", "h/d?password={}", "u:{0}@h/d?sslpassword={0}&a=1"])
def test_a_password_in_an_address_is_not_shown(
    home: Path, form: str, password: str, run: Run
) -> None:
    address = f"postgresql://{form.format(password)}"
    (home / "srec.toml").write_text(f'database_url = "{address}"\n')
    for options in ((), ("--json",)):
        code, out, err = run("--home", str(home), *options)
        assert code == 0
        assert "[secret]" in out
        assert "hun" not in out + err


def test_what_the_file_says_that_is_not_known_is_named_as_everywhere(home: Path, run: Run) -> None:
    (home / "srec.toml").write_text('colour = "red"\n')
    with pytest.raises(HomeError) as elsewhere:
        Home.open(home, create=True)
    code, out, err = run("--home", str(home), "--json")
    assert (code, out) == (1, "")
    assert err == f"srec: {elsewhere.value}\n"
    assert "colour" in err


def test_settings_of_traces_are_read_and_an_address_of_the_environment_is_stronger(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Home.open(home, create=True) as opened:
        path = opened.traces_file
    assert values(home)["trace_redact"] == ([], "default")
    assert not path.exists()
    kept = TraceSettings(redact=frozenset({"users", "text"}), days=30, otlp_endpoint="http://a/v1")
    with TraceStore.open(path) as traces:
        write_settings(traces, kept)
    found = values(home)
    assert found["trace_redact"] == (["text", "users"], "srec trace settings")
    assert found["trace_days"] == (30, "srec trace settings")
    assert found["trace_mib"] == (None, "default")
    assert found["trace_otlp_endpoint"] == ("http://a/v1", "srec trace settings")
    monkeypatch.setenv("SREC_OTLP_ENDPOINT", "http://me:hunter2@b/v1")
    assert values(home)["trace_otlp_endpoint"] == ("http://[secret]@b/v1", "SREC_OTLP_ENDPOINT")


def test_keys_of_the_environment_are_named_and_not_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "abc")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    found = values(home)
    assert found["database_password"] == ("[secret]", "PGPASSWORD")
    assert found["otlp_headers"] == (None, "default")
    assert found["vllm_logging_level"] == ("INFO", "VLLM_LOGGING_LEVEL")


def test_the_source_of_the_home_is_what_named_it(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(*words: str) -> list[str]:
        first = json.loads(run(*words, "--json")[1])["settings"][0]
        assert (first["name"], first["set_by"][0]) == ("home", "--home")
        return [first["value"], first["source"]]

    assert named()[1] == "default"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    assert named()[1] == "XDG_DATA_HOME"
    monkeypatch.setenv("SREC_HOME", str(home))
    assert named() == [str(home), "SREC_HOME"]
    assert named("--home", str(home / "other")) == [str(home / "other"), "--home"]


def test_people_get_a_table_that_cuts_no_name(home: Path) -> None:
    (home / "srec.toml").write_text('model = "[red]mine\\u001b"\n')
    console = Console(file=io.StringIO(), width=110)
    console.print(settings_table(configuration(home, home_source="SREC_HOME")))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "CHROMA_CLIENT_AUTH_CREDENTIALS" in shown
    assert "SQLite, in the home" in shown
    assert "[red]mine\\x1b" in shown


def test_no_variable_is_read_that_is_not_listed() -> None:
    listed = {
        name
        for setting in configuration(Path("/nowhere"), home_source="--home")
        for name in setting.set_by
    }
    read = set(_variables())
    assert {"SREC_HOME", "SREC_OTLP_ENDPOINT", "XDG_DATA_HOME", "VLLM_LOGGING_LEVEL"} <= read
    assert read - NOT_CHOSEN <= listed


def _variables() -> Iterator[str]:
    """The environment variables that the shipped code reads, by their names in it."""
    for folder in ("agent", "tools", "llm", "store", "finetune"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            constants = {
                target.id: node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(tree):
                if (key := _key(node)) is not None:
                    name = constants.get(key.id) if isinstance(key, ast.Name) else None
                    name = key.value if isinstance(key, ast.Constant) else name
                    if isinstance(name, str) and name.isupper():
                        yield name


def _key(node: ast.AST) -> ast.expr | None:
    """What is looked up, if a piece of code looks something up in an environment."""
    if isinstance(node, ast.keyword):
        return node.value if node.arg == "envvar" else None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return node.slice if "environ" in ast.unparse(node.value) else None
    if isinstance(node, ast.Call) and node.args:
        called = ast.unparse(node.func)
        if "environ" in called or called in ("os.getenv", "_chosen"):
            return node.args[0]
    if isinstance(node, ast.Compare) and "environ" in ast.unparse(node.comparators[0]):
        return node.left
    return None
