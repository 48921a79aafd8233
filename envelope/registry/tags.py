"""Tags as they are, and every change of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.tables import tag_changes, tags
from envelope.registry.text import MAX_VALUE_BYTES, check_key, check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChange:
    """One change of one tag. old: None where there was none; new: None where it was removed."""

    key: str
    old: str | None
    new: str | None
    at: datetime
    actor: str


def check_tags(changes: Mapping[str, str | None]) -> None:
    """Raise ConfigError for a key or value that cannot be a tag. A value of None removes."""
    for key, value in changes.items():
        check_key(key, f"the tag key {key!r}")
        if value is not None:
            check_text(value, f"the value of tag {key!r}", max_bytes=MAX_VALUE_BYTES)


def change_tags(
    writer: Writer,
    envelope_id: str,
    changes: Mapping[str, str | None],
    *,
    registered_at: datetime,
    at: datetime,
) -> None:
    """Set and remove tags; what is already so is not a change, and leaves no trace.

    The caller holds the lock of the envelope's row.
    """
    check_tags(changes)
    present = select(tags.c.key, tags.c.value).where(tags.c.envelope_id == envelope_id)
    old: dict[str, str] = {key: value for key, value in writer.connection.execute(present)}
    real = {key: new for key, new in changes.items() if old.get(key) != new}
    if not real:
        return
    removed = [key for key, new in real.items() if new is None]
    if removed:
        mine = (tags.c.envelope_id == envelope_id) & tags.c.key.in_(removed)
        writer.connection.execute(delete(tags).where(mine))
    rows: list[dict[str, Any]] = [
        {"envelope_id": envelope_id, "key": key, "value": new, "registered_at": registered_at}
        for key, new in real.items()
        if new is not None
    ]
    if rows:
        writer.connection.execute(_upsert(writer.database), rows)
    history = [
        {
            "envelope_id": envelope_id,
            "key": key,
            "old": old.get(key),
            "new": new,
            "at": at,
            "actor": writer.actor,
        }
        for key, new in real.items()
    ]
    writer.connection.execute(insert(tag_changes), history)
    changed = {key: [old.get(key), new] for key, new in real.items()}
    writer.note("tag", envelope_id, at, tags=changed)


def _upsert(database: Database) -> Any:
    statement: Any = (sqlite.insert if database.is_sqlite else postgresql.insert)(tags)
    return statement.on_conflict_do_update(
        index_elements=["envelope_id", "key"], set_={"value": statement.excluded.value}
    )


def read_history(database: Database, envelope_id: str) -> list[TagChange]:
    """Every change of an envelope's tags, oldest first."""
    query = (
        select(
            tag_changes.c.key,
            tag_changes.c.old,
            tag_changes.c.new,
            tag_changes.c.at,
            tag_changes.c.actor,
        )
        .where(tag_changes.c.envelope_id == envelope_id)
        .order_by(tag_changes.c.id)
    )
    with database.reading() as connection:
        return [TagChange(**row) for row in connection.execute(query).mappings()]
