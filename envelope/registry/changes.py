"""The change feed: every write, numbered in the order of commits; also the audit log.

The number is taken last in the writing transaction, under the lock of one row, so a reader that has
seen number n has seen all up to n. A database's own sequence is not in commit order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from envelope.errors import StorageError
from envelope.registry.engine import Database
from envelope.registry.tables import change_counter, changes
from envelope.registry.text import check_text

CHANNEL = "envelope_changes"  # of PostgreSQL's NOTIFY
DELIVERY_LOCK = 0x64656C69  # "deli": any number that no one else uses for pg_advisory_lock
KINDS = (
    "batch_job",
    "deployment",
    "envelope",
    "function",
    "gate_run",
    "metric",
    "proof",
    "protected_tag",
    "release",
    "rule",
    "tag",
    "template",
    "token",
)
POLL_S = 0.05  # on SQLite; one look takes 0.1 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change.

    kind: one of KINDS.
    key: the envelope's id, the name of the deployment, rule or batch job, the key of the protected
        tag, or the release's or token's id; "*" for all rules.
    detail: what changed. Of what has a value before and after, both: [old, new].
    """

    seq: int
    kind: str
    key: str
    at: datetime
    actor: str
    detail: Mapping[str, Any] | None = None


@dataclass(slots=True, kw_only=True)
class Writer:
    """A transaction that writes, and the changes that it will have made."""

    database: Database
    connection: Connection
    actor: str
    noted: list[dict[str, Any]] = field(default_factory=list)

    def now(self) -> datetime:
        """The registry's clock; ask after taking locks, so that times follow their order."""
        return self.database.now(self.connection)

    def lock_delivery(self) -> None:
        """Change deployments, rules and batch jobs one after the other, also those not there yet.

        Taken before any other lock, so that no two wait for each other.
        """
        if not self.database.is_sqlite:  # which has one writer at a time
            self.connection.execute(select(func.pg_advisory_xact_lock(DELIVERY_LOCK)))

    def note(self, kind: str, key: str, at: datetime, **detail: Any) -> None:
        """Add a change to the feed, if and when the transaction commits."""
        row = {"kind": kind, "key": key, "at": at, "actor": self.actor, "detail": detail or None}
        self.noted.append(row)


@contextmanager
def writing(database: Database, actor: str) -> Iterator[Writer]:
    """Write and publish in one transaction; nothing is written when an error leaves it."""
    check_text(actor, "the actor")
    with database.writing() as connection:
        writer = Writer(database=database, connection=connection, actor=actor)
        yield writer
        if writer.noted:
            _publish(database, connection, writer.noted)


class _Tried(Exception):
    """Leaves the transaction, so that it is rolled back."""


@contextmanager
def trying(database: Database, actor: str) -> Iterator[Writer]:
    """Write in a transaction that is always rolled back, to see what it would do."""
    with suppress(_Tried), database.writing() as connection:
        yield Writer(database=database, connection=connection, actor=actor)
        raise _Tried


def _publish(database: Database, connection: Connection, rows: list[dict[str, Any]]) -> None:
    step = update(change_counter).values(seq=change_counter.c.seq + len(rows))
    last = connection.execute(step.returning(change_counter.c.seq)).scalar_one()
    first = last - len(rows) + 1
    connection.execute(insert(changes), [{"seq": first + n, **row} for n, row in enumerate(rows)])
    if not database.is_sqlite:
        connection.execute(select(func.pg_notify(CHANNEL, str(last))))


def read_changes(database: Database, after: int, limit: int) -> list[Change]:
    """The changes after `after`, oldest first, at most `limit`."""
    query = select(changes).where(changes.c.seq > after).order_by(changes.c.seq).limit(limit)
    with database.reading() as connection:
        return [Change(**row) for row in connection.execute(query).mappings()]


def read_recent(
    database: Database, *, actor: str | None, kind: str | None, before: int | None, limit: int
) -> list[Change]:
    """The newest changes before number `before`, newest first, at most `limit`."""
    query = select(changes).order_by(changes.c.seq.desc()).limit(limit)
    for column, value in ((changes.c.actor, actor), (changes.c.kind, kind)):
        query = query if value is None else query.where(column == value)
    if before is not None:
        query = query.where(changes.c.seq < before)
    with database.reading() as connection:
        return [Change(**row) for row in connection.execute(query).mappings()]


def last_change(database: Database) -> int:
    """The number of the newest change; 0 when there is none."""
    with database.reading() as connection:
        seq: int = connection.execute(select(change_counter.c.seq)).scalar_one()
        return seq


class Waiter:
    """Waits for changes: by LISTEN/NOTIFY on PostgreSQL, by looking on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._listening: Any = None  # a psycopg connection of its own, out of the pool

    def wait(self, after: int, timeout_s: float) -> bool:
        """Whether there is a change after `after`; waits up to `timeout_s` for one."""
        if self._database.is_sqlite:
            return self._poll(after, timeout_s)
        with self._lock:
            return self._listen(after, timeout_s)

    def close(self) -> None:
        with self._lock:
            if self._listening is not None:
                self._listening.close()
                self._listening = None

    def _poll(self, after: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while last_change(self._database) <= after:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(POLL_S, left_s))
        return True

    def _listen(self, after: int, timeout_s: float) -> bool:
        import psycopg

        deadline = time.monotonic() + timeout_s
        try:
            if self._listening is None:
                self._listening = self._connect()
            # Listening first and looking then misses nothing that commits in between.
            while last_change(self._database) <= after:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                for _ in self._listening.notifies(timeout=left_s, stop_after=1):
                    pass
            return True
        except psycopg.Error as exc:
            if self._listening is not None:
                self._listening.close()
                self._listening = None  # connect again at the next call
            raise StorageError(
                f"registry {self._database.name} stopped telling of changes ({exc}); try again"
            ) from exc

    def _connect(self) -> Any:
        import psycopg

        arguments, options = self._database.engine.dialect.create_connect_args(self._database.url)
        connection = psycopg.connect(*arguments, **options, autocommit=True)
        connection.execute(f"LISTEN {CHANNEL}")
        return connection
