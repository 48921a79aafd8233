"""Opening, migrating and refusing; what a user reads when the database says no."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, text

from envelope.errors import ConfigError, StorageError
from envelope.registry import Registry, migrate, open_registry, upgrade
from envelope.registry.engine import open_database
from envelope.registry.tables import metadata, rule_versions
from tests.fakes import START
from tests.integration.databases import PostgresServer
from tests.integration.registry_workers import (
    FORKSERVER,
    open_and_register,
    upgrade_together,
)
from tests.manifests import a_manifest

SHA = "c" * 64


def test_the_migrations_make_the_tables(registry: Registry) -> None:
    with registry.database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_newest_migration_is_the_schema_version() -> None:
    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert script.get_heads() == [migrate.SCHEMA_VERSION]


def test_a_registry_of_the_first_schema_keeps_its_rules(registry_url: str) -> None:
    """Later migrations add columns to tables that hold rows already."""
    database = open_database(registry_url)
    config = migrate.alembic_config()
    with database.writing() as connection:
        if migrate._version(connection) is not None:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO rules (name, query, deploy_to, priority, paused, version) "
                "VALUES ('us', 'proved = true', 'ltv', 0, false, 1)"
            )
        )
        version = {"rule": "us", "version": 1, "query": "proved = true", "deploy_to": "ltv"}
        stamps = {"priority": 0, "paused": False, "at": START, "actor": "ann"}
        connection.execute(insert(rule_versions), {**version, **stamps})
    database.engine.dispose()
    assert upgrade(registry_url) == migrate.SCHEMA_VERSION
    registry = open_registry(registry_url)
    assert [(rule.name, rule.query) for rule in registry.rules()] == [("us", "proved = true")]
    assert registry.exclusions() == []
    registry.close()


def test_sqlite_is_created_in_a_new_folder_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "registry.db"
    open_registry(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_eight_processes_may_create_one_sqlite_registry(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    barrier = FORKSERVER.Barrier(8)
    workers = [FORKSERVER.Process(target=open_and_register, args=(url, barrier)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0] * 8
    registry = open_registry(url)
    assert len(list(registry.find())) == 8
    registry.close()


def test_an_empty_postgresql_is_upgraded_by_hand(postgres_server: PostgresServer) -> None:
    url = postgres_server.empty_database()
    with pytest.raises(StorageError, match="is empty; run `envelope registry upgrade`"):
        open_registry(url)
    assert upgrade(url) == migrate.SCHEMA_VERSION
    assert upgrade(url) == migrate.SCHEMA_VERSION
    registry = open_registry(url)
    assert list(registry.find()) == []
    registry.close()


def test_two_upgrades_of_one_postgresql_are_one(postgres_server: PostgresServer) -> None:
    url = postgres_server.empty_database()
    barrier = FORKSERVER.Barrier(3)
    workers = [FORKSERVER.Process(target=upgrade_together, args=(url, barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0] * 3
    open_registry(url).close()


def _write_version(registry: Registry, version: str) -> None:
    with registry.database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})


def test_a_newer_registry_is_refused(registry: Registry, registry_url: str) -> None:
    _write_version(registry, "9999")
    with pytest.raises(
        StorageError,
        match=f"schema 9999, this program reads up to {migrate.SCHEMA_VERSION}; upgrade",
    ):
        open_registry(registry_url)


def test_an_older_postgresql_is_refused(postgres_url: str) -> None:
    registry = open_registry(postgres_url)
    _write_version(registry, "0000")
    with pytest.raises(StorageError, match=r"has schema 0000, this program .*; run `envelope"):
        open_registry(postgres_url)
    registry.close()


def test_postgresql_without_utf8_is_refused(postgres_server: PostgresServer) -> None:
    postgres_server.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(ConfigError, match="has the encoding LATIN1; create a database with ENC"):
        upgrade(postgres_server.url("latin"))


def test_a_locked_registry_says_so_and_what_to_do(registry_url: str) -> None:
    registry = open_registry(registry_url, busy_timeout_s=0.2)
    one = registry.register(a_manifest(), SHA, actor="ann").id
    with (
        registry.database.engine.connect().execution_options(envelope_begin="EXCLUSIVE") as holder,
        holder.begin(),
    ):
        holder.execute(text("UPDATE envelopes SET name = name"))
        with pytest.raises(StorageError, match=r"locked by another process for more than 0\.2 s"):
            registry.set_tags(one, {"a": "b"}, actor="ann")
    registry.set_tags(one, {"a": "b"}, actor="ann")
    assert registry.envelope(one).tags["a"] == "b"
    registry.close()


def test_a_process_that_stands_still_keeps_no_lock(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a controller that is stopped while it renews its lease could keep it for ever."""
    url = postgres_server.registry_url()
    monkeypatch.setattr("envelope.registry.engine.IDLE_S", 0.2)
    still, other = open_registry(url), open_registry(url)
    one = other.register(a_manifest(), SHA, actor="ann").id
    with (
        pytest.raises(StorageError, match=r"stood still for more than 0\.2 s .* try again"),
        still.database.writing() as connection,
    ):
        connection.execute(text("UPDATE envelopes SET name = name"))
        other.set_tags(one, {"a": "b"}, actor="ann")
        connection.execute(text("SELECT 1"))
    still.set_tags(one, {"a": "c"}, actor="ann")
    assert other.envelope(one).tags["a"] == "c"
    still.close()
    other.close()


@pytest.mark.parametrize(
    "url, message",
    [
        pytest.param("nonsense", "'nonsense' is not a registry URL; use sqlite", id="no-url"),
        pytest.param("mysql://x/y", "mysql://x/y is not a registry URL", id="mysql"),
        pytest.param("sqlite://", "keeps nothing: give the registry a file", id="memory"),
        pytest.param("sqlite:///:memory:", "keeps nothing", id="named-memory"),
    ],
)
def test_urls_that_are_no_registry(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_registry(url)


def test_passwords_stay_out_of_messages() -> None:
    with pytest.raises(StorageError) as caught:
        open_registry("postgresql+psycopg://ann:secret@127.0.0.1:9/x?connect_timeout=2")
    assert "cannot be reached" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StorageError, match=r"is damaged .*; restore it from a backup"):
        open_registry(f"sqlite:///{path}")


def test_sqlite_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mounts(path: Path, mounts: str | None = None) -> str:
        return "nfs4"

    monkeypatch.setattr("envelope.registry.engine.network_filesystem", mounts)
    with pytest.raises(ConfigError, match=r"network file system \(nfs4\).*set ENVELOPE_HOME"):
        open_database(f"sqlite:///{tmp_path / 'registry.db'}")


def test_a_registry_survives_a_fork(registry: Registry) -> None:
    """A notebook may fork workers after it opened the registry: they connect for themselves."""
    one = registry.register(a_manifest(), SHA, actor="ann").id
    child = os.fork()
    if child == 0:
        status = 1
        try:
            registry.set_tags(one, {"from": "child"}, actor="child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    registry.set_tags(one, {"and": "parent"}, actor="ann")
    tags: dict[str, Any] = dict(registry.envelope(one).tags)
    assert (tags["from"], tags["and"]) == ("child", "parent")


def test_a_restarted_postgresql_is_connected_to_again(postgres_server: PostgresServer) -> None:
    url = postgres_server.registry_url()
    registry = open_registry(url)
    one = registry.register(a_manifest(), SHA, actor="ann").id
    assert not registry.wait_for_change(registry.last_change(), timeout_s=0.01)
    name = registry.database.url.database
    postgres_server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    assert registry.envelope(one).id == one
    with pytest.raises(StorageError, match="stopped telling of changes"):
        registry.wait_for_change(registry.last_change(), timeout_s=5)
    assert registry.wait_for_change(registry.last_change() - 1, timeout_s=5)
    registry.close()
