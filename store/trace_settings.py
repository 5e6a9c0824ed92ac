"""How a trace file is kept, inside the file itself: every process that writes to it obeys."""

import hashlib
import secrets
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.traces import TraceStore

Part = Literal["text", "pictures", "vectors", "users"]
"""What can be left out of new traces, each apart."""


class TraceSettings(BaseModel):
    """What new traces leave out, how long traces stay, and who else gets them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redact: frozenset[Part] = frozenset()
    days: float | None = None
    """As `Retention`, applied when a program that recommends starts; nothing goes by default."""
    count: int | None = None
    mib: float | None = None
    otlp_endpoint: str | None = None
    """Where spans are sent on to, such as `http://localhost:6006/v1/traces`."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("give an http or https address")
            if parts.username or parts.password:
                raise ValueError("keys go into OTEL_EXPORTER_OTLP_HEADERS, not into the address")
        return value


def read_settings(store: TraceStore) -> TraceSettings:
    """The settings of a trace file, the defaults where none were written.

    Raises:
        TraceError: They were written by a newer version.
    """
    text = _read(store, "settings")
    try:
        return TraceSettings() if text is None else TraceSettings.model_validate_json(text)
    except ValidationError as error:
        raise TraceError(f"the settings of {str(store.path)!r} are not ours: {error}") from error


def write_settings(store: TraceStore, settings: TraceSettings) -> None:
    """Replace the settings; programs that run take them up when they start again.

    Raises:
        TraceError: The file cannot be written.
    """
    with store.writing() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO settings VALUES ('settings', ?)", (settings.model_dump_json(),)
        )


def pseudonym(store: TraceStore, user: str) -> str:
    """The name under which a redacted user stands: the same each time, and in this file alone."""
    salt = _read(store, "salt")
    if salt is None:
        with store.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO settings VALUES ('salt', ?)", (secrets.token_hex(16),)
            )
        salt = _read(store, "salt")
    return _hashed(user, str(salt))


def names_of(store: TraceStore, user: str) -> list[str]:
    """The names under which the traces of a user may stand.

    Raises:
        TraceError: The file cannot be read.
    """
    salt = _read(store, "salt")
    return [user] if salt is None else [user, _hashed(user, salt)]


def _hashed(user: str, salt: str) -> str:
    # Guessing through a list of user ids costs some ten milliseconds for each.
    name = user.encode("utf-8", "surrogatepass")
    return f"user-{hashlib.scrypt(name, salt=salt.encode(), n=2**12, r=8, p=1, dklen=8).hex()}"


def _read(store: TraceStore, name: str) -> str | None:
    rows = store.rows("SELECT value FROM settings WHERE name = ?", name)
    return str(rows[0][0]) if rows else None
