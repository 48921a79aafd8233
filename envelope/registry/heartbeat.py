"""When a controller was last seen. No change of the feed: a beat changes nothing wanted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from envelope.registry.engine import Database
from envelope.registry.tables import UtcTime, controllers


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerRow:
    """A controller that was alive `seen_s` seconds ago."""

    id: str
    host: str
    pid: int
    seen_s: float


def beat(database: Database, controller_id: str, *, host: str, pid: int) -> None:
    """Say that this controller is alive."""
    with database.writing() as connection:
        now = database.now(connection)
        statement: Any = (sqlite.insert if database.is_sqlite else postgresql.insert)(controllers)
        statement = statement.values(
            id=controller_id, host=host, pid=pid, started_at=now, beat_at=now
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["id"],
                set_={"host": host, "pid": pid, "beat_at": statement.excluded.beat_at},
            )
        )


def last_beat(database: Database) -> datetime | None:
    """When any controller was last alive, by the registry's clock; None if never."""
    with database.reading() as connection:
        newest = select(func.max(controllers.c.beat_at, type_=UtcTime()))
        seen: datetime | None = connection.execute(newest).scalar()
        return seen


def read_controllers(database: Database, within_s: float) -> list[ControllerRow]:
    """The controllers that were alive within the last `within_s` seconds, by name."""
    with database.reading() as connection:
        now = database.now(connection)
        recent = controllers.c.beat_at >= now - timedelta(seconds=within_s)
        rows = connection.execute(select(controllers).where(recent).order_by(controllers.c.id))
        return [
            ControllerRow(
                id=row.id,
                host=row.host,
                pid=row.pid,
                seen_s=(now - row.beat_at).total_seconds(),
            )
            for row in rows
        ]
