"""How a trace file is kept, inside the file itself: every process that writes to it obeys."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.traces import TraceStore
from mllm_srec.store.validation import problems

Part = Literal["text", "pictures", "vectors", "users"]
"""What can be left out of new traces, each apart."""
_PSEUDONYM = re.compile(r"user-[0-9a-f]{16}")


class TraceSettings(BaseModel):
    """What new traces leave out, how long traces stay, and who else gets them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redact: frozenset[Part] = frozenset()
    days: float | None = Field(default=None, ge=0)
    """As `Retention`, applied when a program that recommends starts; nothing goes by default."""
    count: int | None = Field(default=None, ge=0)
    mib: float | None = Field(default=None, ge=0)
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
        TraceError: They make no sense, or were written by a newer version.
    """
    return changed_settings(store, {})


def changed_settings(store: TraceStore, update: Mapping[str, object]) -> TraceSettings:
    """The settings of a trace file as they would be with some of them changed.

    Raises:
        ValidationError: A change makes no sense.
        TraceError: What else stands in the file makes none, or a newer version wrote it.
    """
    try:
        return TraceSettings.model_validate({**_stored(store), **update})
    except ValidationError as error:
        first = problems(error)[0]
        name = first.place.partition(".")[0]
        if name in update:
            raise
        way_out = (
            f"set it again with `srec trace settings --{name.replace('_', '-')} none`"
            if name in TraceSettings.model_fields
            else "use the version of mllm-srec that wrote it"
        )
        raise TraceError(
            f"the trace file {str(store.path)!r} has the setting {name} {first.value!r} "
            f"({first.what}): {way_out}"
        ) from error


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
    """The name under which a redacted user stands: the same each time, and in this file alone.

    A pseudonym stays what it is: a fork of a redacted run is that user's, too.
    """
    if is_pseudonym(user) and store.rows(
        "SELECT 1 FROM spans WHERE parent_id IS NULL AND user = ? LIMIT 1", user
    ):
        return user
    salt = _read(store, "salt")
    if salt is None:
        with store.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO settings VALUES ('salt', ?)", (secrets.token_hex(16),)
            )
        salt = _read(store, "salt")
    return _hashed(user, str(salt))


def is_pseudonym(user: str) -> bool:
    """Whether this can be the name of a redacted user."""
    return _PSEUDONYM.fullmatch(user) is not None


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


def _stored(store: TraceStore) -> dict[str, object]:
    """The settings as they were written; nothing where none were.

    Raises:
        TraceError: They cannot be read.
    """
    text = _read(store, "settings")
    try:
        found = {} if text is None else json.loads(text)
    except ValueError as error:
        raise TraceError(
            f"the settings of the trace file {str(store.path)!r} cannot be read ({error}): "
            "move the file away"
        ) from error
    assert isinstance(found, dict)
    return found


def _read(store: TraceStore, name: str) -> str | None:
    rows = store.rows("SELECT value FROM settings WHERE name = ?", name)
    return str(rows[0][0]) if rows else None
