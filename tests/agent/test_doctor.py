"""What `srec doctor` says of a home's database."""

from pathlib import Path

from rich.console import Console

from mllm_srec.agent.doctor import Finding, check
from mllm_srec.store.home import Home
from mllm_srec.store.records import Item
from tests.postgresql import PASSWORD, Server


def findings(path: Path) -> dict[str, Finding]:
    return {each.name: each for each in check(path, Console())}


def kept_at(path: Path, url: str) -> Path:
    path.mkdir()
    (path / "srec.toml").write_text(f'database_url = "{url}"\n')
    with Home.open(path, create=True):
        return path


def test_files_in_the_home_are_named(tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", create=True) as home:
        home.catalogue.put_items([Item(item_id="1")])
    found = findings(tmp_path / "home")
    assert found["database"] == Finding("database", "well", "SQLite, in the home")
    assert "1 items, 0 fused" in found["home"].text
    assert found["index"].text == "0 vectors in the home"


def test_a_server_is_named_without_its_password(postgresql: Server, tmp_path: Path) -> None:
    found = findings(kept_at(tmp_path / "home", postgresql.empty()))
    text = f"PostgreSQL: 'postgres' at {postgresql.folder}"
    assert found["database"] == Finding("database", "well", text)
    assert "0 items" in found["home"].text


def test_a_server_that_does_not_answer_is_wrong_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    url = f"postgresql://srec:{PASSWORD}@127.0.0.1:9/shop"
    found = findings(kept_at(tmp_path / "home", url))
    assert found["database"].state == "wrong"
    assert found["database"].text.startswith("PostgreSQL: 'shop' at 127.0.0.1:9: ")
    assert "Connection refused" in found["database"].text
    assert PASSWORD not in found["database"].text
    assert {"index", "server", "disk"} <= set(found)


def test_a_database_of_another_home_is_wrong(postgresql: Server, tmp_path: Path) -> None:
    url = postgresql.empty()
    findings(kept_at(tmp_path / "first", url))
    found = findings(kept_at(tmp_path / "second", url))
    assert found["database"].state == "wrong"
    assert str(tmp_path / "first") in found["database"].text
