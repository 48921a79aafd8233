"""Databases: a test that asks for `registry` runs on SQLite and on PostgreSQL.

One that asks for `place` also runs through a registry server.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from envelope.registry import Registry, open_registry
from tests.integration.databases import PostgresServer, postgres
from tests.registry_server import RegistryServer, registry_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run; it starts when the first test asks for it."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _used_databases() -> list[str]:
    """Registries that a test has used and that the next one may use again."""
    return []


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _used_databases: list[str]) -> Iterator[str]:
    """The URL of an empty registry on PostgreSQL."""
    if _used_databases:
        url = _used_databases.pop()
        postgres_server.empty_again(url)
    else:
        url = postgres_server.registry_url()
    yield url
    _used_databases.append(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty registry, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    """An empty registry, on each database in turn."""
    registry = open_registry(registry_url)
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One registry server for the whole run; it starts when the first test asks for it."""
    with registry_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def server_url(server: RegistryServer) -> str:
    """The address of a registry server with an empty registry."""
    return server.url(f"r{uuid.uuid4().hex[:12]}")


@pytest.fixture(params=["sqlite", "postgresql", "server"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the SDK keeps envelopes: each kind of registry in turn."""
    kind: str = request.param
    if kind != "sqlite":
        name = {"postgresql": "postgres_url", "server": "server_url"}[kind]
        monkeypatch.setenv("ENVELOPE_REGISTRY", request.getfixturevalue(name))
    return kind
