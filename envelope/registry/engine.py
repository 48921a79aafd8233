"""One database: opened, its transactions, its clock, and its errors in our words."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeout,
)

from envelope.errors import ConfigError, DependencyError, StorageError

BUSY_TIMEOUT_S = 30.0  # a writer holds the lock for milliseconds; 16 at once have to queue
CONNECT_TIMEOUT_S = 10
IDLE_S = 5.0  # less than a controller's lease: one that stands still must not keep it locked
NETWORK_FILESYSTEMS = frozenset(
    {"afs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3"}
    | {"smbfs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs"}
)

Clock = Callable[[], datetime]


class Conflict(StorageError):
    """Two wrote what can be there once; the other was first."""


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Database:
    """An open database. name: its URL without the password, for messages.

    clock: None asks the database (PostgreSQL), so that every machine registers by one clock.
    fence: asked first in every transaction that writes; raises for a writer that must not.
    """

    engine: Engine
    url: URL
    name: str
    clock: Clock | None
    busy_timeout_s: float
    fence: Callable[[Connection], None] | None = None

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from. Raises StorageError for what the database refuses.

        On SQLite it is one transaction. On PostgreSQL every statement is its own, which sees no
        less than READ COMMITTED does, and saves two round trips.
        """
        with self._translated(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; committed at the end, rolled back when an error leaves it.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE): a transaction that reads first
        and wants to write later fails when another wrote in between.
        """
        with self._translated(), self.engine.connect() as connection:
            connection = connection.execution_options(envelope_begin="IMMEDIATE")
            with connection.begin():
                if self.fence is not None:
                    self.fence(connection)
                yield connection

    def now(self, connection: Connection) -> datetime:
        """The registry's clock, in UTC."""
        if self.clock is not None:
            return self.clock().astimezone(UTC)
        answer: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return answer.astimezone(UTC)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as exc:
            raise Conflict(
                f"registry {self.name}: another process wrote the same just now; try again"
            ) from exc
        except SQLAlchemyError as exc:
            raise storage_error(exc, self.name, self.busy_timeout_s) from exc


def open_database(
    url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S, clock: Clock | None = None
) -> Database:
    """Prepare a pool of connections to `url`; nothing is read or created yet.

    Raises ConfigError for a URL that is no registry, DependencyError when the driver is missing.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise ConfigError(f"{url!r} is not a registry URL; {_URLS}") from exc
    name = parsed.render_as_string(hide_password=True)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        engine = _sqlite_engine(parsed, name, busy_timeout_s)
        clock = clock or _utc_now
    elif backend in ("postgresql", "postgres"):
        engine = _postgres_engine(parsed, name, busy_timeout_s)
    else:
        raise ConfigError(f"{name} is not a registry URL; {_URLS}")
    database = Database(
        engine=engine, url=engine.url, name=name, clock=clock, busy_timeout_s=busy_timeout_s
    )
    _forget_after_fork(database)
    return database


_URLS = "use sqlite:////folder/registry.db or postgresql+psycopg://user@host/database"


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _sqlite_engine(url: URL, name: str, busy_timeout_s: float) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError(f"{name} keeps nothing: give the registry a file, {_URLS}")
    path = Path(url.database)
    filesystem = network_filesystem(path)
    if filesystem:
        raise ConfigError(
            f"the registry {path} lies on a network file system ({filesystem}), where SQLite loses "
            "writes; set ENVELOPE_HOME to a local disk, or ENVELOPE_REGISTRY to a PostgreSQL URL"
        )
    engine = create_engine(
        url, connect_args={"timeout": busy_timeout_s}, pool_timeout=busy_timeout_s, max_overflow=64
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("envelope_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _postgres_engine(url: URL, name: str, busy_timeout_s: float) -> Engine:
    url = url.set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = {}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_S
    try:
        engine = create_engine(
            url,
            connect_args=arguments,
            pool_pre_ping=True,  # a server that was restarted costs a reconnect, not an error
            pool_timeout=busy_timeout_s,
        )
    except (ImportError, NoSuchModuleError) as exc:
        raise DependencyError(
            f"{name} needs the PostgreSQL driver: pip install 'model-envelope[postgres]'"
        ) from exc

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(busy_timeout_s * 1000)}")
            # A process that stands still within a transaction loses it, and its locks with it.
            cursor.execute(f"SET idle_in_transaction_session_timeout = {int(IDLE_S * 1000)}")
        connection.commit()

    return engine


def network_filesystem(path: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system that `path` lies on; None for a local one.

    mounts: the text of /proc/mounts; read where there is one (Linux), otherwise nothing is known.
    """
    if mounts is None:
        if not sys.platform.startswith("linux"):
            return None
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    real = Path(os.path.realpath(path))
    best: tuple[int, str] = (0, "")
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        target = Path(fields[1].replace("\\040", " ").replace("\\011", "\t"))
        if real.is_relative_to(target):  # of equal ones the last mounted covers the others
            best = max(best, (len(target.parts), fields[2]), key=lambda found: found[0])
            if best[0] == len(target.parts):
                best = (best[0], fields[2])
    return best[1] if best[1] in NETWORK_FILESYSTEMS else None


def storage_error(exc: SQLAlchemyError, name: str, busy_timeout_s: float) -> StorageError:
    """Put a database's refusal into our words: what, where, remedy."""
    if isinstance(exc, PoolTimeout):
        return StorageError(
            f"registry {name}: every connection was in use for {busy_timeout_s:g} s; "
            "use fewer threads at once, or try again"
        )
    cause = exc.orig if isinstance(exc, DBAPIError) else None
    said = str(cause or exc).strip()
    sqlstate = getattr(cause, "sqlstate", None)
    if "locked" in said or sqlstate in ("55P03", "40P01"):
        return StorageError(
            f"registry {name} was locked by another process for more than {busy_timeout_s:g} s; "
            "try again, and look for a process that holds a transaction open"
        )
    if sqlstate == "25P03":
        return StorageError(
            f"registry {name}: this process stood still for more than {IDLE_S:g} s within a "
            "transaction, which the database has undone; try again"
        )
    if "disk is full" in said or sqlstate == "53100":
        return StorageError(f"registry {name}: the disk is full; free some space and try again")
    if "readonly" in said or "read-only" in said:
        return StorageError(f"registry {name} cannot be written ({said}); check its permissions")
    if "unable to open database file" in said:
        return StorageError(f"registry {name} cannot be opened; check that its folder exists")
    if "malformed" in said or "not a database" in said:
        return StorageError(f"registry {name} is damaged ({said}); restore it from a backup")
    if sqlstate is None and isinstance(exc, OperationalError) and "sqlite" not in name:
        return StorageError(
            f"registry {name} cannot be reached: {said}; check that the server runs and "
            "ENVELOPE_REGISTRY is right, then try again"
        )
    return StorageError(f"registry {name}: {said}")


_open: weakref.WeakSet[Database] = weakref.WeakSet()


def _forget_after_fork(database: Database) -> None:
    _open.add(database)


def _dispose_in_child() -> None:
    for database in list(_open):
        database.engine.dispose(close=False)  # the sockets belong to the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_dispose_in_child)
