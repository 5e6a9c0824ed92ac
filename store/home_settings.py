"""What a person writes into the `srec.toml` of a home: its model, and what lies elsewhere."""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from mllm_srec.store.errors import HomeError
from mllm_srec.store.validation import problems

NAME = "srec.toml"
_EXAMPLE = 'database_url = "postgresql://USER@HOST/DATABASE"'
_CHROMA_EXAMPLE = 'chroma_url = "http://HOST:8000"; keys come from the environment'


class HomeSettings(BaseModel):
    """What the file may say."""

    # An address may hold a password, which no error shows.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: str | None = None
    """SQLAlchemy address of a PostgreSQL database."""
    chroma_url: str | None = None
    """Address of a Chroma server, which then keeps the vectors."""
    model: str | None = None
    """Folder of the model, or its name on the hub, where a command names none."""

    @field_validator("database_url")
    @classmethod
    def _of_postgresql(cls, value: str | None) -> str | None:
        try:
            known = value is None or make_url(value).get_backend_name() == "postgresql"
        except ArgumentError:
            known = False
        if not known:
            raise ValueError(f"write {_EXAMPLE}")
        return value

    @field_validator("chroma_url")
    @classmethod
    def _of_a_server(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = urlsplit(value)
        named = parts.scheme in {"http", "https"} and parts.hostname
        if not named or parts.username or parts.path.strip("/") or parts.query:
            raise ValueError(f"write {_CHROMA_EXAMPLE}")
        return value


def read_home_settings(folder: Path) -> HomeSettings:
    """What the file of a home says; nothing where there is none.

    Raises:
        HomeError: It is no TOML, or says what is not known.
    """
    path = folder / NAME
    try:
        return HomeSettings.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return HomeSettings()
    except ValidationError as error:
        # Not from the error: it has the values, and an address may hold a password.
        known = ", ".join(HomeSettings.model_fields)
        raise HomeError(f"{str(path)!r}: {problems(error)[0]}; it may say {known}") from None
    except ValueError as error:
        raise HomeError(f"{str(path)!r} is no TOML ({error}): write {_EXAMPLE}") from error
