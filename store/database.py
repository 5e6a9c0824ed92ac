"""The database of a home that is kept on a server: what it is called, and whose it is.

Its tables tell of pictures and vectors that lie in the home's folder, so two homes on one database
would overwrite each other. The id of the home therefore stands in both.
"""

from pathlib import Path
from uuid import uuid4

from sqlalchemy import Boolean, Column, MetaData, String, Table, Text, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import make_url

from mllm_srec.store.errors import HomeError
from mllm_srec.store.home_mark import give_id, home_id, is_home
from mllm_srec.store.sql import open_engine, sql_errors

_METADATA = MetaData()
_HOME = Table(
    "home",
    _METADATA,
    # One row at most: it says of itself that it is the only one.
    Column("only", Boolean, primary_key=True),
    Column("home_id", String(32), nullable=False),
    Column("folder", Text, nullable=False),
)


def database_name(url: str) -> str:
    """A server's database as a person knows it, without user and password."""
    address = make_url(url)
    host = address.host or address.query.get("host") or "localhost"
    port = "" if address.port is None else f":{address.port}"
    return f"PostgreSQL: {address.database or 'the default database'!r} at {host}{port}"


def without_password(url: str) -> str:
    """A server's address with `***` for its password; one in its query stays."""
    return make_url(url).render_as_string(hide_password=True)


def claim(url: str, folder: Path) -> None:
    """Claim the database for this home; a home that was moved keeps its own.

    Raises:
        HomeError: The database is another home's.
        StoreError: It does not answer.
    """
    engine = open_engine(url, _METADATA)
    try:
        with sql_errors(engine), engine.begin() as connection:
            own = home_id(folder)
            wanted = own or uuid4().hex
            row = {"only": True, "home_id": wanted, "folder": str(folder)}
            # Of processes that get here at once, one writes the row and the others wait for it.
            made = insert(_HOME).values(row).on_conflict_do_nothing()
            if connection.execute(made.returning(_HOME.c.home_id)).first() and own is None:
                give_id(folder, wanted)
            kept = connection.execute(select(_HOME)).one()
            _check(kept.home_id, Path(kept.folder), folder, database_name(url))
            if kept.folder != str(folder):
                moved = update(_HOME).where(_HOME.c.only == true()).values(folder=str(folder))
                connection.execute(moved)
    finally:
        engine.dispose()


def _check(kept_id: str, kept: Path, folder: Path, name: str) -> None:
    """Raise unless the database belongs to this home."""
    own = home_id(folder)
    copied = kept != folder and _bears(kept, own)
    if kept_id == own and not copied:
        return
    how = f"{str(folder)!r} is a copy of it" if copied else f"not of {str(folder)!r}"
    raise HomeError(
        f"{name} is the database of the home {str(kept)!r}, {how}: two homes on one database "
        "would overwrite each other. Open that home, or give this one a database or a schema of "
        "its own"
    )


def _bears(folder: Path, wanted: str | None) -> bool:
    """Whether a folder is the home of that id; not one that is gone, closed to us or broken."""
    try:
        return is_home(folder) and home_id(folder) == wanted
    except (OSError, HomeError):
        return False
