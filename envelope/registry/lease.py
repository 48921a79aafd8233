"""Which of several controllers leads: one row, taken by compare-and-set for a while at a time.

Whoever takes it over gets a higher epoch. A registry that is bound to an epoch
(`Registry.led_by`) looks in each writing transaction whether it is still the one, so that a
controller which was taken for dead, and was not, can write nothing. Times are the registry's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from envelope.errors import Deposed
from envelope.registry.engine import Conflict, Database
from envelope.registry.tables import lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who leads. left_s: seconds until anyone may take it over; 0 or less when it is free.

    epoch: the registry's clock in milliseconds when it was taken, or more: always higher than the
    one before, also where the registry is another one by now and the cluster is not.
    holder: one controller, or the successive ones of one supervisor, which never overlap.
    """

    epoch: int
    holder: str
    host: str
    pid: int
    left_s: float

    @property
    def is_held(self) -> bool:
        return self.left_s > 0


def read_lease(database: Database) -> Lease | None:
    """The lease as it is; None when nobody ever led."""
    with database.reading() as connection:
        row = connection.execute(select(lease)).first()
        return None if row is None else _lease(row, database, connection)


def claim(database: Database, holder: str, *, host: str, pid: int, ttl_s: float) -> Lease:
    """Take the lease for `ttl_s` if it is free or this holder's own, by a new epoch.

    Returns the lease as it is then, whosever it is.
    """
    try:
        with database.writing() as connection:
            row = connection.execute(select(lease).with_for_update()).first()
            now = database.now(connection)
            if row is not None and row.holder != holder and row.expires_at > now:
                return _lease(row, database, connection)
            epoch = max(int(now.timestamp() * 1000), 0 if row is None else row.epoch + 1)
            values = {
                "epoch": epoch,
                "holder": holder,
                "host": host,
                "pid": pid,
                "taken_at": now,
                "expires_at": now + timedelta(seconds=ttl_s),
            }
            statement: Any = insert(lease).values(id=1, **values)
            if row is not None:
                statement = update(lease).where(lease.c.epoch == row.epoch).values(values)
            connection.execute(statement)
            return Lease(epoch=epoch, holder=holder, host=host, pid=pid, left_s=ttl_s)
    except Conflict:  # the very first lease, and another was first
        return claim(database, holder, host=host, pid=pid, ttl_s=ttl_s)


def renew(database: Database, epoch: int, *, ttl_s: float) -> bool:
    """Hold the lease for `ttl_s` from now, unless another has taken it; whether it is held."""
    return _expire(database, epoch, ttl_s)


def resign(database: Database, epoch: int) -> bool:
    """Let anyone take the lease at once; whether it was held."""
    return _expire(database, epoch, 0.0)


def fence(epoch: int) -> Callable[[Connection], None]:
    """Return what raises Deposed in a writing transaction unless that epoch leads.

    The row stays locked until the transaction ends: nobody takes over in its middle.
    """

    def check(connection: Connection) -> None:
        found = connection.execute(select(lease.c.epoch).with_for_update(read=True)).scalar()
        if found != epoch:
            raise Deposed(
                f"the lease of epoch {epoch} was taken over by epoch {found}; nothing was written, "
                "`envelope status` says who leads"
            )

    return check


def _expire(database: Database, epoch: int, in_s: float) -> bool:
    with database.writing() as connection:
        until = database.now(connection) + timedelta(seconds=in_s)
        mine = update(lease).where(lease.c.epoch == epoch).values(expires_at=until)
        return connection.execute(mine).rowcount == 1


def _lease(row: Any, database: Database, connection: Connection) -> Lease:
    return Lease(
        epoch=row.epoch,
        holder=row.holder,
        host=row.host,
        pid=row.pid,
        left_s=(row.expires_at - database.now(connection)).total_seconds(),
    )
