"""What users said about values and items: more of this, less of that, never again."""

from typing import Any, Literal, get_args

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
)

from mllm_srec.store.records import Record
from mllm_srec.store.sql import ID, SqlStore

Stance = Literal["more", "less", "never"]
STANCES: tuple[Stance, ...] = get_args(Stance)
SubjectKind = Literal["value", "item"]

_TABLES = MetaData()

_FEEDBACK = Table(
    "feedback",
    _TABLES,
    Column("feedback_id", Integer, primary_key=True, autoincrement=True),
    Column("user_id", ID, nullable=False, index=True),
    Column("stance", String(8), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("subject", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("key", String(200), unique=True),
)


class Feedback(Record):
    """One wish of a user, as it was said."""

    feedback_id: int
    user_id: str
    stance: Stance
    kind: SubjectKind
    subject: str
    """A value of items (`"red"`), or the id of an item."""
    origin: str
    """Where it was said: `"chat 3f2a, turn 4"`, `"Python"`."""
    timestamp: int
    """Seconds since 1970-01-01 UTC."""


class FeedbackStore(SqlStore):
    """The wishes of all users, in a file of their own: a chat may write beside an ingest."""

    _tables = _TABLES

    def add(
        self,
        user_id: str,
        stance: Stance,
        kind: SubjectKind,
        subject: str,
        *,
        origin: str,
        timestamp: int,
        key: str | None = None,
    ) -> Feedback:
        """Keep a wish.

        Args:
            user_id: Whose it is.
            stance: More of it, less of it, or never again.
            kind: Whether the subject is a value or an item.
            subject: The value, or the item's id.
            origin: Where it was said, as a person reads it.
            timestamp: When, seconds since 1970-01-01 UTC.
            key: A second wish under the same key is not kept again: the first one is returned.
        """
        with self._writing() as connection:
            if key is not None:
                known = connection.execute(select(_FEEDBACK).where(_FEEDBACK.c.key == key)).first()
                if known is not None:
                    return _feedback(known)
            values = {
                "user_id": user_id,
                "stance": stance,
                "kind": kind,
                "subject": subject,
                "origin": origin,
                "timestamp": timestamp,
                "key": key,
            }
            row = connection.execute(insert(_FEEDBACK).values(values).returning(_FEEDBACK)).one()
            return _feedback(row)

    def of(self, user_id: str) -> list[Feedback]:
        """The wishes of a user that count, oldest first: of one subject the last word."""
        mine = select(_FEEDBACK).where(_FEEDBACK.c.user_id == user_id)
        said = [_feedback(row) for row in self._rows(mine.order_by(_FEEDBACK.c.feedback_id))]
        last = {(each.kind, each.subject): each.feedback_id for each in said}
        return [each for each in said if last[each.kind, each.subject] == each.feedback_id]

    def remove(self, feedback_id: int) -> Feedback | None:
        """Take a wish back; None where there is none of that number."""
        with self._writing() as connection:
            mine = _FEEDBACK.c.feedback_id == feedback_id
            row = connection.execute(delete(_FEEDBACK).where(mine).returning(_FEEDBACK)).first()
            return None if row is None else _feedback(row)

    def delete_user(self, user_id: str) -> int:
        """Delete the wishes of a user; how many there were."""
        with self._writing() as connection:
            mine = _FEEDBACK.c.user_id == user_id
            return connection.execute(delete(_FEEDBACK).where(mine)).rowcount


def _feedback(row: Row[Any]) -> Feedback:
    return Feedback(**{name: value for name, value in row._mapping.items() if name != "key"})
