"""The store and the registry that this process talks to, opened once."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from envelope.registry import Registry, open_registry
from envelope.settings import Settings
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
            _open[settings] = Connection(
                settings=settings,
                store=Store(settings.store_url),
                registry=open_registry(settings.registry_url),
                actor=settings.actor,
            )
        return _open[settings]


def disconnect() -> None:
    """Close every connection of this process; the next `connect` opens a new one."""
    with _lock:
        for connection in _open.values():
            connection.registry.close()
        _open.clear()
