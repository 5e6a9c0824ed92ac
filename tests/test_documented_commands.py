"""Every `srec` command that a page shows is one that the program takes."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from mllm_srec.agent.cli import app
from mllm_srec.agent.inspection.cli import trace_app
from mllm_srec.finetune.cli import evaluate_app, finetune_app, sample_shop_app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
IN_BLOCK = re.compile(r"^(?:\$ )?(srec [a-z-].*)$", re.MULTILINE)
IN_LINE = re.compile(r"`(srec [a-z][^`]*)`")
HANDED_ON: dict[str, typer.Typer] = {
    "trace": trace_app,
    "evaluate": evaluate_app,
    "finetune": finetune_app,
    "sample-shop": sample_shop_app,
}
"""Commands whose arguments another program of ours parses."""


def shown() -> list[tuple[str, str, bool]]:
    """Page, command, and whether it is a whole one: that in a block of code."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = FENCED.findall(text)
        found += [(page.name, line, True) for block in blocks for line in IN_BLOCK.findall(block)]
        running = FENCED.sub("", text)
        found += [(page.name, line, False) for line in IN_LINE.findall(running)]
    return found


def parse(words: list[str]) -> None:
    """Parse a command as the program would, and do nothing.

    Raises:
        typer.BadParameter: Something that must be there is missing.
        Exception: Another usage error; it names what is wrong.
    """
    command: Any = get_command(HANDED_ON[words.pop(0)] if words[0] in HANDED_ON else app)
    while words:
        context = command.make_context(command.name, words)
        if not hasattr(command, "resolve_command"):
            return
        _, command, words = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
    if not hasattr(command, "resolve_command"):
        command.make_context(command.name, [])


@pytest.mark.parametrize(("page", "line", "whole"), shown())
def test_a_command_of_a_page_is_taken(page: str, line: str, whole: bool) -> None:
    words = shlex.split(line.replace("\n", " "), comments=True)[1:]
    try:
        parse(words)
    except typer.BadParameter:
        # In running text a command may be named without all that it needs.
        if whole:
            raise


def test_pages_show_commands() -> None:
    assert len(shown()) > 30


@pytest.mark.parametrize(
    "line", ["recommend u1 --colour", "trace nonsense", "finetune data", "chat", "index remake"]
)
def test_a_command_that_is_not_one_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)missing|no such"):
        parse(line.split())


def number_options() -> list[tuple[tuple[str, ...], str]]:
    """Every command with an option that takes any number, and the option."""
    found = []

    def walk(command: Any, path: tuple[str, ...]) -> None:
        for option in command.params:
            if option.type_descriptor.annotation is float:
                found.append((path, option.opts[0]))
        for name, each in getattr(command, "commands", {}).items():
            walk(each, (*path, name))

    for name, group in {"": app, **HANDED_ON}.items():
        walk(get_command(group), (name,) if name else ())
    return found


@pytest.mark.parametrize(("path", "option"), number_options())
def test_no_option_takes_a_number_that_nothing_is_more_than(
    path: tuple[str, ...], option: str
) -> None:
    words = [*path, option, "nan"]
    with pytest.raises(Exception, match=r"no number to compare with|than or equal"):
        parse(words)
