from contextlib import closing
from pathlib import Path

import pytest

from mllm_srec.store.catalogue import Catalogue
from mllm_srec.store.errors import HomeError, StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.records import Interaction, Item
from tests.postgresql import PASSWORD, Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def say(folder: Path, text: str) -> None:
    (folder / "srec.toml").write_text(text)


def test_a_home_is_kept_at_the_address_that_its_file_gives(
    postgresql: Server, folder: Path
) -> None:
    url = postgresql.empty()
    say(folder, f'database_url = "{url}"\n')
    with Home.open(folder, create=True) as home:
        home.catalogue.put_items([Item(item_id="1")])
        home.steps.put_many({"0" * 64: "[1]"}, owner="mia")
        home.feedback.add("mia", "never", "value", "red", origin="test", timestamp=1)
        home.threads.start("t", "mia", now=5)
    assert not [*folder.rglob("*.sqlite")]
    with Home.open(folder) as home:
        assert home.catalogue.item_ids() == ["1"]
        assert home.steps.count() == len(home.feedback.of("mia")) == len(home.threads.of("mia"))
    with closing(Catalogue.open(url)) as catalogue:
        assert catalogue.item_ids() == ["1"]


def test_a_user_is_deleted_there_too(postgresql: Server, folder: Path) -> None:
    say(folder, f'database_url = "{postgresql.empty()}"\n')
    with Home.open(folder, create=True) as home:
        home.catalogue.put_items([Item(item_id="1")])
        home.catalogue.put_interactions([Interaction(user_id="mia", item_id="1", position=0)])
        home.steps.put_many({"0" * 64: "[1]"}, owner="mia")
        home.feedback.add("mia", "never", "value", "red", origin="test", timestamp=1)
        home.threads.start("t", "mia", now=5)
        assert home.delete_user("mia") == 1
        assert home.catalogue.user_ids() == []
        assert home.steps.count() == 0
        assert home.feedback.of("mia") == []
        assert home.threads.of("mia") == []


def test_what_a_caller_names_comes_before_the_file(postgresql: Server, folder: Path) -> None:
    say(folder, f'database_url = "{postgresql.url(password="wrong")}"\n')
    with Home.open(folder, create=True, database_url=postgresql.empty()) as home:
        assert home.catalogue.item_ids() == []


def test_the_password_may_come_from_the_environment(
    postgresql: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(folder, f'database_url = "{postgresql.empty().replace(f":{PASSWORD}", "")}"\n')
    with Home.open(folder, create=True) as home, pytest.raises(StoreError, match="password"):
        home.catalogue.item_ids()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with Home.open(folder) as home:
        assert home.catalogue.item_ids() == []


def test_a_home_that_has_a_shop_does_not_change_its_database(
    postgresql: Server, folder: Path
) -> None:
    with Home.open(folder, create=True) as home:
        home.catalogue.put_items([Item(item_id="1")])
    say(folder, f'database_url = "{postgresql.empty()}"\n')
    with pytest.raises(HomeError, match="make a new home"):
        Home.open(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("database_url = ", "is no TOML"),
        (
            'database = "postgresql://u:hunter2@h/d"',
            "database: not known, leave it out; it may say database_url, chroma_url, model",
        ),
        ('database_url = "sqlite:////hunter2"', "database_url: .*postgresql://USER"),
        ('database_url = "hunter2"', "database_url: .*postgresql://USER"),
        ('database_url = "mystery://u:hunter2@h/d"', "database_url: .*postgresql://USER"),
        ("database_url = 7", "database_url: "),
        ('chroma_url = "127.0.0.1:8000"', "chroma_url: .*http://HOST"),
        ('chroma_url = "http://u:hunter2@127.0.0.1:8000"', "chroma_url: .*http://HOST"),
        ('chroma_url = "http://127.0.0.1:8000/?key=hunter2"', "chroma_url: .*http://HOST"),
    ],
)
def test_a_wrong_file_is_refused_by_name_without_what_it_says(
    folder: Path, text: str, problem: str
) -> None:
    say(folder, text)
    with pytest.raises(HomeError, match=rf"srec\.toml'.*{problem}") as refused:
        Home.open(folder, create=True)
    assert "hunter2" not in str(refused.value)
    assert "Value error" not in str(refused.value)
