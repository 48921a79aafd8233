"""Databases: a test that asks for `registry` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envelope.registry import Registry, open_registry
from tests.integration.databases import PostgresServer, postgres


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
