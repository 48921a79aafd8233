"""The store and the registry that this process talks to, opened once."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from envelope.registry import Registry, open_registry
from envelope.settings import Settings, is_server
from envelope.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """actor: who is written into the history of what is changed through it."""

    settings: Settings
    store: Store
    registry: Registry
    actor: str


_open: dict[Settings, Connection] = {}
_lock = threading.Lock()


def connect(settings: Settings | None = None) -> Connection:
    """Return the connection of these settings (default: the environment's), opening it if need be.

    The embedded registry is created and migrated by itself. Raises ConfigError, StorageError.
    """
    settings = settings or Settings.read()
    with _lock:
        if settings not in _open:
            _open[settings] = _connect(settings)
        return _open[settings]


def _connect(settings: Settings) -> Connection:
    if not is_server(settings.registry_url):
        registry, store = open_registry(settings.registry_url), Store(settings.store_url)
    else:
        from envelope.remote.client import Client
        from envelope.remote.folder import RemoteFolder
        from envelope.remote.registry import RemoteRegistry

        client = Client(settings.registry_url, token=settings.token)
        registry = RemoteRegistry(client)
        is_shared = settings.store_url == settings.registry_url
        store = Store(RemoteFolder(client) if is_shared else settings.store_url)
    return Connection(settings=settings, store=store, registry=registry, actor=settings.actor)


def disconnect() -> None:
    """Close every connection of this process; the next `connect` opens a new one."""
    with _lock:
        for connection in _open.values():
            connection.registry.close()
        _open.clear()
