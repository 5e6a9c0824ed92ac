from pathlib import Path

import pytest

from mllm_srec.agent.terminal.paths import with_tilde


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/mia", "~"),
        ("/home/mia/shop", "~/shop"),
        ("sample shop in /home/mia/shop", "sample shop in ~/shop"),
        ("/home/mia/a: 3 items, /home/mia/b", "~/a: 3 items, ~/b"),
        ("/home/miaow/shop", "/home/miaow/shop"),
        ("/srv/home/mia/shop", "/srv/home/mia/shop"),
        ("no home at '/home/mia/shop'", "no home at '/home/mia/shop'"),
    ],
)
def test_paths_below_the_home_of_the_user_begin_with_a_tilde(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    monkeypatch.setenv("HOME", "/home/mia")
    assert with_tilde(text) == shown
    monkeypatch.setenv("HOME", "/")
    assert with_tilde(text) == text


def test_a_home_with_marks_of_patterns_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a.b+c")
    assert with_tilde("/home/a.b+c/shop") == str(Path("~", "shop"))
    assert with_tilde("/home/aXb+c/shop") == "/home/aXb+c/shop"
