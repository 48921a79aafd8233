"""Bring a database to the schema of `tables.py`; refuse one that is too old or too new.

SQLite migrates itself when it is opened, under a file lock. PostgreSQL is shared by many versions
of the program, so a human says when: `envelope registry upgrade`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from envelope.errors import ConfigError, StorageError
from envelope.registry.engine import Database

SCHEMA_VERSION = "0009"  # the newest file in migrations/versions; a test compares them
ADVISORY_LOCK = 0x656E7665  # "enve": any number that no one else uses for pg_advisory_lock


def ensure_current(database: Database) -> None:
    """Migrate an SQLite registry that is new or old; check a PostgreSQL one.

    Raises StorageError with the remedy when it cannot be used as it is.
    """
    if database.is_sqlite:
        path = Path(database.url.database or "")
        if not path.exists() or schema_version(database) != SCHEMA_VERSION:
            upgrade(database)
        return
    found = schema_version(database)
    if found == SCHEMA_VERSION:
        return
    _refuse_newer(found, database)
    state = "is empty" if found is None else f"has schema {found}, this program {SCHEMA_VERSION}"
    raise StorageError(f"registry {database.name} {state}; run `envelope registry upgrade` once")


def upgrade(database: Database) -> str:
    """Run every migration that is missing, one process at a time; return the schema version."""
    if database.is_sqlite:
        path = Path(database.url.database or "")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageError(f"{path.parent} cannot be created: {exc}") from exc
        with _file_lock(path.with_name(path.name + ".lock")):
            _upgrade_sqlite(database)
    else:
        _upgrade_postgres(database)
    return SCHEMA_VERSION


def schema_version(database: Database) -> str | None:
    """The version that is written in the database; None for an empty one."""
    with database.reading() as connection:
        return _version(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _upgrade_sqlite(database: Database) -> None:
    with database.reading() as connection:
        found = _version(connection)
        _refuse_newer(found, database)
        if found == SCHEMA_VERSION:
            return  # another process did it while we waited for the lock
        connection.rollback()
        # Readers go on while one writes. The mode is kept in the file.
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA journal_mode = WAL")
    with database.writing() as connection:
        _run_migrations(connection)


def _upgrade_postgres(database: Database) -> None:
    with database.writing() as connection:
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise ConfigError(
                f"registry {database.name} has the encoding {encoding}; "
                "create a database with ENCODING 'UTF8' for it"
            )
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        found = _version(connection)
        _refuse_newer(found, database)
        if found != SCHEMA_VERSION:
            _run_migrations(connection)


def _refuse_newer(found: str | None, database: Database) -> None:
    if found is not None and found > SCHEMA_VERSION:
        raise StorageError(
            f"registry {database.name} has schema {found}, this program reads up to "
            f"{SCHEMA_VERSION}; upgrade model-envelope"
        )


def _run_migrations(connection: Connection) -> None:
    from alembic import command  # 0.4 s to import, needed once in a registry's life

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_VERSION)


def alembic_config() -> Any:
    """Alembic's configuration: the migrations that are shipped inside this package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file lets go of the lock
