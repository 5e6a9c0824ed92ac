from pathlib import Path

import pytest

from mllm_srec.agent.terminal.paths import with_tilde


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/people/mia", "~"),
        ("/people/mia/shop", "~/shop"),
        ("sample shop in /people/mia/shop", "sample shop in ~/shop"),
        ("/people/mia/a: 3 items, /people/mia/b", "~/a: 3 items, ~/b"),
        ("/people/miaow/shop", "/people/miaow/shop"),
        ("/srv/people/mia/shop", "/srv/people/mia/shop"),
        ("no home at '/people/mia/shop'", "no home at '/people/mia/shop'"),
    ],
)
def test_paths_below_the_home_of_the_user_begin_with_a_tilde(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    monkeypatch.setenv("HOME", "/people/mia")
    assert with_tilde(text) == shown
    monkeypatch.setenv("HOME", "/")
    assert with_tilde(text) == text


def test_a_home_with_marks_of_patterns_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/people/a.b+c")
    assert with_tilde("/people/a.b+c/shop") == str(Path("~", "shop"))
    assert with_tilde("/people/aXb+c/shop") == "/people/aXb+c/shop"
