"""What the commands share: options, default folders, and how a group of commands looks."""

import math
import os
from pathlib import Path
from typing import Annotated, Final

import typer

from mllm_srec.agent.terminal.paths import with_tilde
from mllm_srec.llm.engine_kinds import EngineKind, InProcessKind

HELP = {"help_option_names": ["-h", "--help"]}
PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""What is handed on parses its own commands, `--help` included."""

DATA_VARIABLE = "XDG_DATA_HOME"
"""Environment variable with the folder in which the default homes lie."""
HOME_VARIABLE = "SREC_HOME"
DATA = Path(with_tilde(os.environ.get(DATA_VARIABLE) or "~/.local/share"))
DEFAULT_HOME = DATA / "srec"
DEMO_HOME = DATA / "srec-demo"
DEFAULT_ENGINE: Final = "auto"

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, all else on stderr.")]
Home = Annotated[
    Path, typer.Option("--home", envvar=HOME_VARIABLE, help="Folder that holds everything.")
]
DemoHome = Annotated[
    Path, typer.Option("--home", help="Folder for the sample shop, apart from your own.")
]
Engine = Annotated[
    EngineKind, typer.Option(help="What answers; auto: a server that runs, else the fastest here.")
]
InProcess = Annotated[InProcessKind, typer.Option("--engine", help="What loads the model.")]
Model = Annotated[
    Path | None,
    typer.Option(help="Folder of the model; that of the home by default, else srec-tiny."),
]
MOST = 100
"""Items of a list: `tools.items.MAX_COUNT`, which the command line cannot wait for."""
Count = Annotated[int, typer.Option("-k", min=1, max=MOST, help="Length of the list.")]
WithPictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Pictures, where the terminal can.")
]


def home_source(context: typer.Context) -> str:
    """What named the home of a command: an option, an environment variable, or nothing."""
    source = context.get_parameter_source("home")
    named = {"COMMANDLINE": "--home", "ENVIRONMENT": HOME_VARIABLE}
    default = DATA_VARIABLE if os.environ.get(DATA_VARIABLE) else "default"
    return named.get(source.name, default) if source else default


def finite(value: float | None) -> float | None:
    """Refuse what no number is more or less than."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to compare with: give a finite one")
    return value


def names(listed: str) -> tuple[str, ...]:
    """The names in a comma-separated list, stripped of blanks."""
    return tuple(each.strip() for each in listed.split(","))


def group(name: str, about: str) -> typer.Typer:
    """A command that has commands."""
    return typer.Typer(
        name=name,
        help=about,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain help: the drawn one costs half of the time that `srec --help` takes.
        rich_markup_mode=None,
        context_settings=HELP,
    )
