"""`srec config`: every setting that a deployment may choose, its value, and where that comes from.

What a file may say are the fields of the class that reads it, so none can be missing here. The
environment variables stand below; a test holds them to those that the code reads.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from mllm_srec.agent.cli_options import DATA_VARIABLE, DEFAULT_ENGINE, HOME_VARIABLE
from mllm_srec.agent.terminal.paths import with_tilde
from mllm_srec.agent.terminal.pieces import plain_table
from mllm_srec.agent.tracing.masking import SECRET, Masks
from mllm_srec.agent.tracing.otlp import ENDPOINT, endpoint
from mllm_srec.agent.untrusted import words
from mllm_srec.llm.load import bundled_model
from mllm_srec.llm.vllm_settings import LEFT_TO_THE_USER
from mllm_srec.store.database import without_password
from mllm_srec.store.home import TRACES_FILE
from mllm_srec.store.home_mark import home_folder
from mllm_srec.store.home_settings import NAME as FILE
from mllm_srec.store.home_settings import read_home_settings
from mllm_srec.store.trace_settings import TraceSettings, read_settings
from mllm_srec.store.traces import TraceStore

DEFAULT = "default"
TRACE_COMMAND = "srec trace settings"
KEYS = {
    "database_password": "PGPASSWORD",
    "chroma_auth_provider": "CHROMA_CLIENT_AUTH_PROVIDER",
    "chroma_auth_credentials": "CHROMA_CLIENT_AUTH_CREDENTIALS",
    "otlp_headers": "OTEL_EXPORTER_OTLP_HEADERS",
}
"""Where the libraries of PostgreSQL, Chroma and OTLP find their keys, which are never shown."""
OTHERWISE = {
    "database_url": "SQLite, in the home",
    "chroma_url": "in the home",
    "trace_redact": "nothing but secrets",
    "trace_days": "all stay",
    "trace_count": "all stay",
    "trace_mib": "all stay",
    "trace_otlp_endpoint": "nowhere",
}
"""What an empty value means, for people."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it holds now."""

    name: str
    value: Any
    """A plain JSON value without passwords; None and the empty list for nothing chosen."""
    source: str
    """`default`, or which entry of `set_by` decided."""
    set_by: tuple[str, ...]
    """Options, environment variables, files and commands that can set it, the strongest first."""

    def to_dict(self) -> dict[str, Any]:
        """The setting as plain JSON values."""
        return asdict(self)


def configuration(home: Path, *, home_source: str) -> list[Setting]:
    """The settings of a home, which may not be made yet; loads no model and connects to nothing.

    Args:
        home: Its folder.
        home_source: What named it.

    Raises:
        StoreError: The file of the home, or its trace file, says what is not known.
    """
    folder = home_folder(home)
    found = [
        Setting("home", str(folder), home_source, ("--home", HOME_VARIABLE, DATA_VARIABLE)),
        Setting("engine", DEFAULT_ENGINE, DEFAULT, ("--engine",)),
        *_of_file(folder),
        *_of_traces(folder),
        *_of_environment(),
    ]
    masks = Masks(os.environ)
    return [
        replace(each, value=masks.masked(each.value)) if isinstance(each.value, str) else each
        for each in found
    ]


def settings_table(settings: Iterable[Setting]) -> RenderableType:
    """Settings, one line each."""
    table = plain_table("setting", "value", "from", "set by")
    for column in table.columns:
        column.overflow = "fold"
    for each in settings:
        value = ", ".join(each.value) if isinstance(each.value, list) else each.value
        empty = value in (None, "")
        shown = OTHERWISE.get(each.name, "not set") if empty else with_tilde(str(value))
        table.add_row(
            words(each.name, "bold"),
            words(shown, "dim" if empty else ""),
            words(each.source, "dim" if each.source == DEFAULT else ""),
            words(", ".join(each.set_by), "dim"),
        )
    return table


def _of_file(folder: Path) -> Iterator[Setting]:
    for name, value in read_home_settings(folder):
        source = DEFAULT if value is None else FILE
        if name == "model":
            yield Setting(name, value or bundled_model().name, source, ("--model", FILE))
        elif name == "database_url" and value is not None:
            yield Setting(name, without_password(value), source, (FILE,))
        else:
            yield Setting(name, value, source, (FILE,))


def _of_traces(folder: Path) -> Iterator[Setting]:
    stored, defaults = _trace_settings(folder), TraceSettings()
    for name, value in stored.model_dump(mode="json").items():
        source = DEFAULT if getattr(stored, name) == getattr(defaults, name) else TRACE_COMMAND
        setting = Setting(f"trace_{name}", value, source, (TRACE_COMMAND,))
        if name == "redact":
            setting = replace(setting, value=sorted(value))
        if name == "otlp_endpoint":
            address, set_by = endpoint(stored), (ENDPOINT, TRACE_COMMAND)
            source = source if address == value else ENDPOINT
            setting = replace(setting, value=address, source=source, set_by=set_by)
        yield setting


def _trace_settings(folder: Path) -> TraceSettings:
    """As the trace file says; the defaults before there is one."""
    path = folder / TRACES_FILE
    if not path.exists():
        return TraceSettings()
    with TraceStore.open(path, create=False) as traces:
        return read_settings(traces)


def _of_environment() -> Iterator[Setting]:
    for variable, otherwise in LEFT_TO_THE_USER.items():
        value = os.environ.get(variable, otherwise)
        # The command line itself sets what nobody has set.
        source = DEFAULT if value == otherwise else variable
        yield Setting(variable.lower(), value, source, (variable,))
    for name, variable in KEYS.items():
        if os.environ.get(variable):
            yield Setting(name, SECRET, variable, (variable,))
        else:
            yield Setting(name, None, DEFAULT, (variable,))
