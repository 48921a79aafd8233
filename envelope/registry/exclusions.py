"""What was rolled back on a deployment, and may not come back until it is allowed; and pauses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from envelope.errors import ConfigError
from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.tables import envelopes, exclusions, pauses
from envelope.registry.text import check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """An envelope that was rolled back on a deployment and is not allowed again.

    created_at: when the envelope was registered. back_to: what takes its place until a newer
    envelope comes; None leaves it to the rules.
    """

    deployment: str
    envelope_id: str
    created_at: datetime
    back_to: str | None
    reason: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Since when rules start nothing, and why."""

    reason: str
    at: datetime
    actor: str


def exclude(
    writer: Writer, deployment: str, envelope_id: str, *, back_to: str | None, reason: str
) -> None:
    """Keep an envelope off a deployment until it is allowed there."""
    check_text(reason, "the reason")
    now = writer.now()
    row = {"deployment": deployment, "envelope_id": envelope_id, "back_to": back_to}
    stamps = {"reason": reason, "at": now, "actor": writer.actor}
    writer.connection.execute(insert(exclusions), {**row, **stamps})
    detail = {"rolled_back": envelope_id, "back_to": back_to, "reason": [None, reason]}
    writer.note("deployment", deployment, now, **detail)


def allow(writer: Writer, deployment: str, envelope_id: str) -> bool:
    """Lift every exclusion of an envelope on a deployment; return whether there was one."""
    mine = (
        (exclusions.c.deployment == deployment)
        & (exclusions.c.envelope_id == envelope_id)
        & exclusions.c.lifted_at.is_(None)
    )
    last = select(exclusions.c.reason).where(mine).order_by(exclusions.c.id.desc())
    reason = writer.connection.execute(last).scalar()
    if reason is None:
        return False
    now = writer.now()
    row = {"lifted_at": now, "lifted_by": writer.actor}
    writer.connection.execute(update(exclusions).where(mine).values(row))
    writer.note("deployment", deployment, now, allowed=envelope_id, reason=[reason, None])
    return True


def refuse_excluded(writer: Writer, deployment: str, envelope_id: str) -> None:
    """Raise ConfigError when the envelope was rolled back there and not allowed again."""
    mine = exclusions.c.deployment == deployment
    mine &= (exclusions.c.envelope_id == envelope_id) & exclusions.c.lifted_at.is_(None)
    row = writer.connection.execute(select(exclusions).where(mine)).first()
    if row is not None:
        raise ConfigError(
            f"{envelope_id} was rolled back on {deployment} at {row.at:%Y-%m-%d %H:%M} UTC by "
            f"{row.actor}: {row.reason}; `envelope allow {envelope_id} --to {deployment}` first"
        )


def read_exclusions(database: Database, deployment: str | None) -> list[Exclusion]:
    """What is excluded now, in the order in which it was rolled back."""
    query = (
        select(exclusions, envelopes.c.created_at)
        .join(envelopes, envelopes.c.id == exclusions.c.envelope_id)
        .where(exclusions.c.lifted_at.is_(None))
        .order_by(exclusions.c.id)
    )
    if deployment is not None:
        query = query.where(exclusions.c.deployment == deployment)
    names = Exclusion.__slots__
    with database.reading() as connection:
        rows = connection.execute(query).mappings()
        return [Exclusion(**{name: row[name] for name in names}) for row in rows]


# --- pauses


def pause(writer: Writer, reason: str) -> bool:
    """Let no rule start anything; return whether that is new."""
    check_text(reason, "the reason")
    if writer.connection.execute(select(pauses.c.id).where(pauses.c.resumed_at.is_(None))).first():
        return False
    now = writer.now()
    row = {"reason": reason, "at": now, "actor": writer.actor}
    writer.connection.execute(insert(pauses), row)
    writer.note("rule", "*", now, paused=[False, True], reason=[None, reason])
    return True


def resume(writer: Writer) -> bool:
    """Let rules decide again; return whether they were paused."""
    now, mine = writer.now(), pauses.c.resumed_at.is_(None)
    reason = writer.connection.execute(select(pauses.c.reason).where(mine)).scalar()
    row = {"resumed_at": now, "resumed_by": writer.actor}
    done = writer.connection.execute(update(pauses).where(mine).values(row))
    if not done.rowcount:
        return False
    writer.note("rule", "*", now, paused=[True, False], reason=[reason, None])
    return True


def read_pause(database: Database) -> Pause | None:
    """The pause that holds now; None when rules decide."""
    query = select(pauses.c.reason, pauses.c.at, pauses.c.actor)
    with database.reading() as connection:
        row = connection.execute(query.where(pauses.c.resumed_at.is_(None))).mappings().first()
    return None if row is None else Pause(**row)
